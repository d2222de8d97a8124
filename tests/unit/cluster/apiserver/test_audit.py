"""The audit log: what a policy wants of each request, in a file of its own."""

import asyncio
import os
import stat
from pathlib import Path

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.apiserver.audit import AuditLog
from kubedyno.cluster.apiserver.auditfile import AuditFile, Rotation, expired
from kubedyno.cluster.apiserver.auditpolicy import EVERYTHING, policy_of, read_policy
from kubedyno.http.messages import Peer, Request
from unit.cluster.apiserver.harness import NS, TOKEN, Answer, running

MAPS = f"/api/v1/namespaces/{NS}/configmaps"


def policy(*rules, **more):
    return policy_of({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}, "p")


def audited(tmp_path, rules, *calls):
    """Return the lines that requests leave: (method, target, body, headers)."""
    path = tmp_path / "logs" / "audit.log"

    async def inside():
        async with running() as api:
            file = AuditFile(path, Rotation(), api.clock.now)
            log = AuditLog(
                lambda: api.server.app, rules, file, api.server.identities, api.server.decision, api.clock.now
            )
            api.server.annotations_of = log.annotations_of
            for method, target, body, headers in calls:
                where, _, query = target.partition("?")
                answer = Answer()
                given = {"authorization": f"Bearer {TOKEN}", **headers}
                data = orjson.dumps(body) if body is not None else b""
                log.app(Request(method, where, query, given, data, Peer(1, "127.0.0.1:4")), answer)
                if answer.on_close is not None and "watch" in query:
                    answer.on_close()
            await asyncio.sleep(0)
            log.close()

    aio.run(inside())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def configmap(name="c"):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "managedFields": []},
        "data": {"k": "v"},
    }


def test_metadata_says_who_asked_what_and_what_came_of_it(tmp_path):
    received, complete = audited(tmp_path, EVERYTHING, ("POST", MAPS, configmap(), {"user-agent": "me/1"}))
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    times = {name: complete.pop(name) for name in ("requestReceivedTimestamp", "stageTimestamp")}
    assert all(text.endswith("Z") and len(text) == 27 for text in times.values())
    assert complete == {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "", "stage": "ResponseComplete",
        "requestURI": MAPS, "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["127.0.0.1"], "userAgent": "me/1",
        "objectRef": {"resource": "configmaps", "namespace": NS, "name": "c", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }  # fmt: skip


def test_what_pod_security_says_of_pods_is_noted(tmp_path):
    pods, deployments = (f"/{root}/namespaces/{NS}/{plural}" for root, plural in
                         (("api/v1", "pods"), ("apis/apps/v1", "deployments")))  # fmt: skip
    spec = {"containers": [{"name": "c", "image": "i"}], "hostPID": True}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    labels = {f"pod-security.kubernetes.io/{mode}": "baseline" for mode in ("enforce", "audit")}
    merge = {"content-type": "application/merge-patch+json"}
    calls = [
        ("POST", pods, {"metadata": {"name": "a"}, "spec": spec}, {}),
        ("PATCH", f"/api/v1/namespaces/{NS}", {"metadata": {"labels": labels}}, merge),
        ("POST", pods, {"metadata": {"name": "b"}, "spec": spec}, {}),
        ("POST", deployments, {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
                                                                   "template": template}}, {}),
    ]  # fmt: skip
    events = [line for line in audited(tmp_path, EVERYTHING, *calls) if line["stage"] == "ResponseComplete"]
    prefix = "pod-security.kubernetes.io/"
    found = [{k.removeprefix(prefix): v for k, v in e["annotations"].items() if k.startswith(prefix)} for e in events]
    text = 'would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    assert found == [
        {"enforce-policy": "privileged:latest"}, {},
        {"enforce-policy": "baseline:latest", "audit-violations": text}, {"audit-violations": text},
    ]  # fmt: skip
    assert [e["responseStatus"]["code"] for e in events] == [201, 200, 403, 201]


def test_a_deprecated_api_is_marked_and_no_other(tmp_path):
    lines = audited(
        tmp_path,
        EVERYTHING,
        ("GET", f"/api/v1/namespaces/{NS}/endpoints", None, {}),
        ("GET", MAPS, None, {}),
    )
    assert [line.get("annotations", {}).get("k8s.io/deprecated") for line in lines] == [None, "true", None, None]


def test_higher_levels_have_the_objects_without_what_is_omitted(tmp_path):
    rules = policy(
        {"level": "Request", "verbs": ["update", "delete"]},
        {"level": "RequestResponse", "omitManagedFields": True},
        omitStages=["RequestReceived"],
    )
    calls = [("POST", MAPS, configmap(), {}), ("GET", f"{MAPS}/c", None, {}), ("DELETE", f"{MAPS}/c", None, {})]
    created, got, deleted = audited(tmp_path, rules, *calls)
    assert created["requestObject"]["data"] == {"k": "v"}
    assert created["responseObject"]["metadata"]["name"] == "c"
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert got["responseObject"]["kind"] == "ConfigMap"
    assert "requestObject" not in got
    assert "responseObject" not in deleted


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        ({}, True), ({"users": ["admin"]}, True), ({"users": ["other"]}, False), ({"userGroups": ["system:masters"]}, True),
        ({"verbs": ["get", "list"]}, True), ({"verbs": ["create"]}, False), ({"namespaces": [NS]}, True),
        ({"namespaces": ["x"]}, False), ({"nonResourceURLs": ["/api*"]}, False),
        ({"resources": [{"group": "", "resources": ["configmaps"]}]}, True),
        ({"resources": [{"group": "apps"}]}, False), ({"resources": [{"group": ""}]}, True),
        ({"resources": [{"group": "", "resources": ["configmaps"], "resourceNames": ["d"]}]}, False),
        ({"resources": [{"group": "", "resources": ["configmaps/status"]}]}, False),
        ({"resources": [{"group": "", "resources": ["configmaps/*"]}]}, True),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_counts(tmp_path, rule, written):
    rules = policy({"level": "Metadata", **rule}, {"level": "None"})
    assert bool(audited(tmp_path, rules, ("GET", f"{MAPS}/c", None, {}))) is written


def test_a_refusal_is_written_with_its_status_and_whom_one_acted_as(tmp_path):
    (event,) = audited(
        tmp_path, policy({"level": "Metadata"}, omitStages=["RequestReceived"]),
        ("GET", f"{MAPS}/c", None, {"impersonate-user": "joe"}),
    )  # fmt: skip
    assert event["impersonatedUser"]["username"] == "joe"
    assert event["responseStatus"]["reason"] == "Forbidden"
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    (event,) = audited(tmp_path / "b", policy({"level": "Metadata"}, omitStages=["RequestReceived"]),
                       ("GET", f"{MAPS}/c", None, {"authorization": "Bearer wrong"}))  # fmt: skip
    assert (event["user"], event["responseStatus"]["code"]) == ({}, 401)


def test_a_watch_is_written_when_it_begins_and_when_it_ends(tmp_path):
    events = audited(tmp_path, EVERYTHING, ("GET", f"{MAPS}?watch=true", None, {}))
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    assert {event["verb"] for event in events} == {"watch"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "p.yaml: "), ("kind: Pod", "is no audit policy"),
        ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: []", "a policy has to have at least one"),
        ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: All}]", "rules[0]: level: All is none"),
        ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: None, verb: x}]", "verb is not known"),
        ("kind: Policy\napiVersion: audit.k8s.io/v2\nrules: []", "audit.k8s.io/v2 is not known"),
        ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: None, users: 7}]", "users: must be a list"),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_said_in_one_line(tmp_path, text, says):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(KubedynoError) as caught:
        read_policy(tmp_path / "p.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_said():
    with pytest.raises(KubedynoError, match="the audit log needs a file"):
        AuditFile(Path("/proc/none/audit.log"), Rotation(), None)


def test_a_full_file_is_put_aside_and_the_newest_of_those_are_kept(tmp_path):
    path = tmp_path / "audit.log"
    path.write_bytes(b"before\n")
    (tmp_path / "audit-mine.log").write_bytes(b"")
    (tmp_path / "audit-2020-01-01T00-00-00.000.log").write_bytes(b"")
    file = AuditFile(path, Rotation(16, max_backups=2), lambda: 1_800_000_000.25)
    file.write([b"1234567"])
    assert path.read_bytes() == b"before\n1234567\n"
    file.write([b"a", b"longer than sixteen", b"b", b"c"])
    file.close()
    found = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert found == {
        "audit-mine.log": b"",
        "audit-2027-01-15T08-00-00.251.log": b"a\n",
        "audit-2027-01-15T08-00-00.252.log": b"longer than sixteen\n",
        "audit.log": b"b\nc\n",
    }
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path, tmp_path / "audit-2027-01-15T08-00-00.251.log")} == {
        0o600
    }


def test_files_put_aside_go_by_age_and_number():
    now_s, day_s = 1_800_000_000.0, 86_400.0
    kept = {Path(str(days)): now_s - days * day_s - 1 for days in range(5)}
    assert expired(kept, Rotation(), now_s) == []
    assert expired(kept, Rotation(max_age_days=3), now_s) == [Path("3"), Path("4")]
    assert set(expired(kept, Rotation(max_age_days=4, max_backups=2), now_s)) == {Path("2"), Path("3"), Path("4")}
    assert Rotation.of(0, 1, 2) == Rotation(100 * 1024 * 1024, 1, 2)


def test_what_is_no_regular_file_is_never_put_aside(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = AuditFile(path, Rotation(4), lambda: 0.0)
    file.write([b"abc", b"def"])
    assert os.read(reader, 100) == b"abc\ndef\n"
    file.close()
    os.close(reader)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
