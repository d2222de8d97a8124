"""Mutating and validating webhooks: a real server on loopback is asked over TLS."""

import asyncio
from contextlib import asynccontextmanager

from kubedyno.base import aio
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.templates import OwnerRef
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import PODS
from kubedyno.kube.status import StatusError
from ports import refusing_port
from unit.cluster.apiserver.harness import NS, running
from unit.cluster.apiserver.hooks import hooks, patch

REG = "/apis/admissionregistration.k8s.io/v1"
MAPS = f"/api/v1/namespaces/{NS}/configmaps"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
MERGE = {"content-type": "application/merge-patch+json"}
_LIMIT_S = 20.0


class World:
    """An API server and a webhook server."""

    def __init__(self, api, server):
        self.api = api
        self.hooks = server

    async def call(self, *given, **named):
        answer = self.api.call(*given, **named)
        async with aio.timeout(_LIMIT_S):
            await answer.done.wait()
        return answer

    async def configure(self, sort, *parts, name="w"):
        whole = []
        for i, part in enumerate(parts):
            path = part.pop("path", f"/{i}")
            whole.append(
                {"name": f"h{i}.{name}.io", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [RULE],
                 "clientConfig": self.hooks.client(path), **part}
            )  # fmt: skip
        path = f"{REG}/{sort}webhookconfigurations"
        answer = await self.call("POST", path, {"metadata": {"name": name}, "webhooks": whole})
        assert answer.status == 201, answer.json


@asynccontextmanager
async def world():
    async with hooks() as server, running() as api:
        yield World(api, server)


def configmap(name="c", labels=None, **data):
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def run(test):
    """Make a plain test of a coroutine function that takes a world."""

    def plain():
        async def inside():
            async with world() as made:
                await test(made)

        aio.run(inside())

    plain.__name__ = test.__name__
    return plain


def allow(_):
    return {"allowed": True}


@run
async def test_a_refusal_has_the_webhooks_words_and_code(w):
    w.hooks.replies["/0"] = lambda _: {
        "allowed": False,
        "status": {"message": "not today", "code": 403, "reason": "Forbidden"},
    }
    await w.configure("validating", {})
    answer = await w.call("POST", MAPS, configmap())
    assert answer.json == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": 'admission webhook "h0.w.io" denied the request: not today',
    }  # fmt: skip
    w.hooks.replies["/0"] = lambda _: {"allowed": False}
    answer = await w.call("POST", MAPS, configmap())
    assert (answer.status, answer.json["message"]) == (
        400, 'admission webhook "h0.w.io" denied the request without explanation',
    )  # fmt: skip
    assert (await w.call("GET", f"{MAPS}/c")).status == 404
    w.hooks.replies["/0"] = allow
    assert (await w.call("POST", MAPS, configmap())).status == 201
    page = (await w.call("GET", "/metrics")).body.decode()
    named = 'name="h0.w.io",operation="CREATE",rejected'
    for code, rejected in (("403", "true"), ("400", "true"), ("200", "false")):
        labels = f'code="{code}",{named}="{rejected}",type="validating"'
        assert f"apiserver_admission_webhook_request_total{{{labels}}} 1\n" in page
    for rejected, count in (("true", 2), ("false", 1)):
        labels = f'{named}="{rejected}",type="validating"'
        assert f"apiserver_admission_webhook_admission_duration_seconds_count{{{labels}}} {count}\n" in page
    labels = 'error_type="no_error",name="h0.w.io",operation="CREATE",rejection_code="403",type="validating"'
    assert f"apiserver_admission_webhook_rejection_count{{{labels}}} 1\n" in page


@run
async def test_a_review_tells_all_of_a_request(w):
    w.hooks.replies["/0"] = allow
    await w.configure("validating", {})
    await w.call("POST", f"{MAPS}?fieldManager=me&dryRun=All", configmap(a="1"))
    (review,) = w.hooks.seen
    request = review["request"]
    gvk, gvr = (
        {"group": "", "version": "v1", "kind": "ConfigMap"},
        {"group": "", "version": "v1", "resource": "configmaps"},
    )
    assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    assert request.pop("uid")
    obj = request.pop("object")
    assert (obj["kind"], obj["metadata"]["name"], obj["data"]) == ("ConfigMap", "c", {"a": "1"})
    assert obj["metadata"]["uid"]
    assert request == {
        "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr, "name": "c", "namespace": NS,
        "operation": "CREATE", "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "oldObject": None, "dryRun": True,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "dryRun": ["All"]},
    }  # fmt: skip
    assert w.hooks.queries == ["timeout=10s"]
    assert (await w.call("GET", f"{MAPS}/c")).status == 404, "a dry run stores nothing"


@run
async def test_mutations_are_stored_and_seen_by_those_after(w):
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/metadata/labels", "value": {"by": "first"}})
    w.hooks.replies["/1"] = lambda r: patch(
        {"op": "add", "path": "/data/seen", "value": r["object"]["metadata"]["labels"]["by"]}
    )
    w.hooks.replies["/v"] = allow
    await w.configure("mutating", {}, {})
    await w.configure("validating", {"path": "/v"})
    made = (await w.call("POST", MAPS, configmap(a="1"))).json
    assert made["metadata"]["labels"] == {"by": "first"}
    assert made["data"] == {"a": "1", "seen": "first"}
    assert w.hooks.seen[-1]["request"]["object"]["metadata"]["uid"] == made["metadata"]["uid"], (
        "one uid, however often it is begun"
    )
    changed = (await w.call("PATCH", f"{MAPS}/c", {"data": {"b": "2"}}, MERGE)).json
    assert changed["data"] == {"a": "1", "b": "2", "seen": "first"}
    assert w.hooks.seen[-1]["request"]["oldObject"]["data"] == {"a": "1", "seen": "first"}


@run
async def test_webhooks_that_want_to_are_asked_again_after_a_change(w):
    w.hooks.replies["/0"] = lambda r: patch(
        {"op": "add", "path": "/data/turns", "value": r["object"]["data"].get("turns", "") + "x"}
    )
    w.hooks.replies["/1"] = lambda _: patch({"op": "add", "path": "/data/late", "value": "1"})
    await w.configure("mutating", {"reinvocationPolicy": "IfNeeded"}, {})
    made = (await w.call("POST", MAPS, configmap(a="1"))).json
    assert made["data"] == {"a": "1", "late": "1", "turns": "xx"}


@run
async def test_what_changes_in_the_second_turn_is_seen_by_those_still_to_come(w):
    w.hooks.replies["/0"] = lambda r: patch(
        {"op": "add", "path": "/data/had", "value": "".join(sorted(set(r["object"]["data"]) - {"had"}))}
    )
    w.hooks.replies["/1"] = lambda _: patch({"op": "add", "path": "/data/b", "value": "1"})
    w.hooks.replies["/2"] = lambda r: patch({"op": "add", "path": "/data/c", "value": r["object"]["data"]["had"]})
    again = {"reinvocationPolicy": "IfNeeded"}
    await w.configure("mutating", {**again}, {}, {**again})
    made = (await w.call("POST", MAPS, configmap(a="1"))).json
    assert made["data"] == {"a": "1", "b": "1", "had": "abc", "c": "abc"}


@run
async def test_a_webhook_that_was_not_asked_is_not_asked_in_the_second_turn(w):
    w.hooks.replies["/0"] = lambda _: {"allowed": False}
    w.hooks.replies["/1"] = lambda _: patch({"op": "add", "path": "/metadata/labels", "value": {"late": "1"}})
    picky = {"objectSelector": {"matchLabels": {"late": "1"}}, "reinvocationPolicy": "IfNeeded"}
    await w.configure("mutating", picky, {})
    assert (await w.call("POST", MAPS, configmap(a="1"))).status == 201


@run
async def test_a_sidecar_gets_what_the_built_in_plug_ins_give_all_containers(w):
    side = {"name": "side", "image": "side:1"}
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/spec/containers/-", "value": side})
    rule = {**RULE, "resources": ["pods"], "operations": ["CREATE"]}
    await w.configure("mutating", {"rules": [rule]})
    limits = {"type": "Container", "default": {"memory": "64Mi"}}
    path = f"/api/v1/namespaces/{NS}"
    await w.call("POST", f"{path}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limits]}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    first, second = (await w.call("POST", f"{path}/pods", pod)).json["spec"]["containers"]
    assert second["volumeMounts"] == first["volumeMounts"] != []
    assert second["resources"] == first["resources"] != {}


@run
async def test_a_replacement_without_a_namespace_is_one_in_it(w):
    w.hooks.replies["/0"] = allow
    labels = {"matchLabels": {"kubernetes.io/metadata.name": "another"}}
    await w.call("POST", MAPS, configmap(a="1"))
    await w.configure("mutating", {})
    await w.configure("validating", {"path": "/0", "namespaceSelector": labels}, name="x")
    assert (await w.call("PUT", f"{MAPS}/c", configmap(a="2"))).status == 200
    assert [seen["request"]["namespace"] for seen in w.hooks.seen] == [NS]
    assert w.hooks.seen[0]["request"]["object"]["metadata"]["namespace"] == NS


@run
async def test_validating_webhooks_see_the_generation_and_version_that_a_change_makes(w):
    w.hooks.replies["/0"] = allow
    path = f"/apis/apps/v1/namespaces/{NS}/deployments"
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}},
    }
    body = {"metadata": {"name": "d"}, "spec": spec}
    made = (await w.call("POST", path, body)).json
    await w.configure("validating", {"rules": [{**RULE, "apiGroups": ["apps"], "resources": ["deployments"]}]})
    changed = await w.call("PUT", f"{path}/d", {**body, "spec": {**spec, "paused": True}})
    metadata = w.hooks.seen[0]["request"]["object"]["metadata"]
    assert (metadata["generation"], changed.json["metadata"]["generation"]) == (2, 2)
    assert metadata["resourceVersion"] == made["metadata"]["resourceVersion"]


@run
async def test_a_token_is_asked_about(w):
    w.hooks.replies["/0"] = allow
    await w.configure("validating", {"rules": [{**RULE, "resources": ["serviceaccounts/token"]}]})
    path = f"/api/v1/namespaces/{NS}/serviceaccounts/default/token"
    body = {"spec": {"expirationSeconds": 3600}}
    assert (await w.call("POST", path, body)).status == 201
    request = w.hooks.seen[0]["request"]
    assert (request["kind"]["kind"], request["subResource"], request["name"]) == ("TokenRequest", "token", "default")
    assert request["object"]["spec"]["expirationSeconds"] == 3600
    assert request["object"]["status"] == {"token": "", "expirationTimestamp": None}
    w.hooks.replies["/0"] = lambda _: {"allowed": False}
    assert (await w.call("POST", path, body)).status == 400
    w.hooks.replies["/0"] = allow
    w.hooks.replies["/1"] = lambda _: patch({"op": "replace", "path": "/spec/expirationSeconds", "value": 1200})
    rules = [{**RULE, "resources": ["serviceaccounts/token"]}]
    await w.configure("mutating", {"rules": rules, "path": "/1"}, name="m")
    assert (await w.call("POST", path, body)).json["spec"]["expirationSeconds"] == 1200
    w.hooks.replies["/1"] = lambda _: patch({"op": "replace", "path": "/spec/expirationSeconds", "value": "long"})
    assert (await w.call("POST", path, body)).status in {400, 500}


@run
async def test_failure_policy_decides_over_a_webhook_that_is_gone(w):
    with refusing_port() as port:
        gone = {"clientConfig": {"url": f"https://127.0.0.1:{port}/x"}}
        await w.configure("validating", gone)
        answer = await w.call("POST", MAPS, configmap())
        text = (
            f'failed calling webhook "h0.w.io": failed to call webhook: Post "https://127.0.0.1:{port}/x?timeout=10s": '
            f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
        assert (answer.status, answer.json["reason"]) == (500, "InternalError")
        assert answer.json["message"] == f"Internal error occurred: {text}"
        assert answer.json["details"] == {"causes": [{"message": text}]}
        await w.call("DELETE", f"{REG}/validatingwebhookconfigurations/w")
        failures = 'apiserver_admission_webhook_fail_open_count{name="h0.w.io",type="validating"}'
        assert failures not in (await w.call("GET", "/metrics")).body.decode()
        await w.configure("validating", {**gone, "failurePolicy": "Ignore"})
        assert (await w.call("POST", MAPS, configmap())).status == 201
        assert f"{failures} 1\n" in (await w.call("GET", "/metrics")).body.decode()


@run
async def test_a_webhook_that_hangs_is_given_up_after_its_timeout(w):
    w.hooks.silent.add("/0")
    await w.configure("validating", {"timeoutSeconds": 1})
    other = w.api.call("POST", f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": "s"}})
    waiting = w.api.call("POST", MAPS, configmap())
    assert (other.status, waiting.status) == (201, 0), "nobody else waits"
    async with aio.timeout(_LIMIT_S):
        await waiting.done.wait()
    assert waiting.json["message"].endswith(f':{w.hooks.port}/0?timeout=1s": context deadline exceeded')


@run
async def test_other_addresses_than_loopback_are_never_dialled(w):
    for url, host in (("https://192.0.2.1/x", "192.0.2.1"), ("https://example.org/x", "example.org")):
        await w.configure("validating", {"clientConfig": {"url": url}})
        answer = await w.call("POST", MAPS, configmap())
        why = f"kubedyno calls webhooks on loopback and in its own pods only, and {host} is neither"
        assert answer.json["message"].endswith(f'Post "{url}?timeout=10s": {why}')
        await w.call("DELETE", f"{REG}/validatingwebhookconfigurations/w")


@run
async def test_a_service_without_pods_cannot_answer(w):
    await w.configure("validating", {"clientConfig": {"service": {"name": "s", "namespace": NS, "path": "/p"}}})
    answer = await w.call("POST", MAPS, configmap())
    assert answer.json["message"].endswith(f'Post "https://s.{NS}.svc:443/p?timeout=10s": service "s" not found')


@run
async def test_a_certificate_of_another_authority_is_refused(w):
    w.hooks.replies["/0"] = allow
    await w.configure("validating", {"clientConfig": {"url": f"https://127.0.0.1:{w.hooks.port}/0"}})
    answer = await w.call("POST", MAPS, configmap())
    assert "tls: failed to verify certificate: x509: " in answer.json["message"]
    assert not w.hooks.seen


@run
async def test_answers_that_are_none_are_said(w):
    await w.configure("validating", {})
    cases = {
        b"{}": "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}': "webhook response was absent",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"x"}}': "expected response.uid=",
    }
    for body, text in cases.items():
        w.hooks.raw["/0"] = (200, body)
        answer = await w.call("POST", MAPS, configmap())
        assert f'failed calling webhook "h0.w.io": received invalid webhook response: {text}' in answer.json["message"]
    failed = {
        (500, b"boom"): 'an error on the server ("unknown") has prevented the request from succeeding',
        (302, b""): "the server responded with the status code 302 but did not return more information",
        (200, b""): "0-length response with status code: 200 and content type: application/json",
        (200, b"{"): "couldn't get version/kind; json parse error: unexpected end of JSON input",
        (
            200,
            b"[]",
        ): "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct",
        (200, b'{"apiVersion":"v9","kind":"X"}'): 'no kind "X" is registered for version "v9" in scheme',
    }
    for raw, text in failed.items():
        w.hooks.raw["/0"] = raw
        answer = await w.call("POST", MAPS, configmap())
        assert f'failed calling webhook "h0.w.io": failed to call webhook: {text}' in answer.json["message"]


@run
async def test_what_a_webhook_made_into_no_object_of_its_kind_is_said(w):
    await w.configure("mutating", {})
    cases = {
        ("/kind", "Pod"): "converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        (
            "/data",
            "x",
        ): "Internal error occurred: json: cannot unmarshal string into Go struct field ConfigMap.data of type "
        "map[string]string",
    }
    for (path, value), text in cases.items():
        w.hooks.replies["/0"] = lambda _, p=path, v=value: patch({"op": "add", "path": p, "value": v})
        answer = await w.call("POST", MAPS, configmap())
        assert (answer.status, answer.json["message"]) == (500, text)


@run
async def test_a_validating_webhook_may_not_patch_and_a_patch_must_fit(w):
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/data/x", "value": "1"})
    await w.configure("validating", {})
    answer = await w.call("POST", MAPS, configmap())
    assert "validating webhook may not return response.patch" in answer.json["message"]
    await w.call("DELETE", f"{REG}/validatingwebhookconfigurations/w")
    w.hooks.replies["/0"] = lambda _: patch({"op": "remove", "path": "/data/none"})
    await w.configure("mutating", {})
    answer = await w.call("POST", MAPS, configmap())
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/data", "value": 7})
    answer = await w.call("POST", MAPS, configmap())
    assert answer.status == 500
    assert (await w.call("GET", MAPS)).json["items"] == []


@run
async def test_what_may_not_be_patched_is_said(w):
    change = {"op": "add", "path": "/data/b", "value": "1"}
    w.hooks.replies["/0"] = lambda _: {**patch(change), "patchType": "Merge"}
    await w.configure("mutating", {"failurePolicy": "Fail"})
    failed = 'Internal error occurred: failed calling webhook "h0.w.io": unsupported patch type "Merge"'
    assert (await w.call("POST", MAPS, configmap(a="1"))).json["message"] == failed
    w.hooks.replies["/0"] = lambda _: {**patch(), "patchType": "Merge"}
    assert (await w.call("POST", MAPS, configmap(a="1"))).status == 201, "nothing to do"
    w.hooks.replies["/0"] = lambda _: patch(change)
    answer = await w.call("DELETE", f"{MAPS}/c")
    refused = 'admission webhook "h0.w.io" attempted to modify the object, which is not supported for this operation'
    assert (answer.status, answer.json["message"]) == (500, f"Internal error occurred: {refused}")


@run
async def test_a_webhook_cannot_move_an_object(w):
    where = "the namespace of the provided object does not match the namespace sent on the request"
    await w.call("POST", MAPS, configmap("old", a="1"))
    w.hooks.replies["/0"] = lambda _: patch({"op": "replace", "path": "/metadata/namespace", "value": "kube-system"})
    await w.configure("mutating", {})
    for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/old")):
        answer = await w.call(method, path, configmap("old" if method == "PUT" else "c", a="2"))
        assert (answer.status, answer.json["message"]) == (400, where)
    assert (await w.call("GET", "/api/v1/namespaces/kube-system/configmaps/c")).status == 404
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/metadata/resourceVersion", "value": "5"})
    assert (await w.call("POST", MAPS, configmap(a="1"))).status == 500
    w.hooks.replies["/0"] = lambda _: patch({"op": "remove", "path": "/metadata"})
    answer = await w.call("POST", MAPS, configmap(a="1"))
    text = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    assert (answer.status, answer.json["message"]) == (422, text)


@run
async def test_rules_and_selectors_say_who_is_asked(w):
    w.hooks.replies["/0"] = lambda _: {"allowed": False}
    rule = {**RULE, "operations": ["CREATE"], "scope": "Namespaced"}
    await w.configure("validating", {"rules": [rule], "objectSelector": {"matchLabels": {"a": "1"}},
                                     "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NS}}})  # fmt: skip
    assert (await w.call("POST", MAPS, configmap("a", {"a": "1"}))).status == 400
    assert (await w.call("POST", MAPS, configmap("b"))).status == 201
    assert (await w.call("PATCH", f"{MAPS}/b", {"metadata": {"labels": {"a": "1"}}}, MERGE)).status == 200
    assert (
        await w.call("POST", f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": "s", "labels": {"a": "1"}}})
    ).status == 201
    assert len(w.hooks.seen) == 1


@run
async def test_deletions_are_asked_about_one_by_one(w):
    w.hooks.replies["/0"] = lambda r: {
        "allowed": r["operation"] != "DELETE" or r["oldObject"]["metadata"]["name"] != "keep"
    }
    await w.configure("validating", {})
    for name in ("a", "b", "keep"):
        assert (await w.call("POST", MAPS, configmap(name))).status == 201
    assert (await w.call("DELETE", f"{MAPS}/keep")).status == 400
    assert (
        await w.call("DELETE", f"{MAPS}/a", {"gracePeriodSeconds": 0, "kind": "DeleteOptions", "apiVersion": "v1"})
    ).status == 200
    request = w.hooks.seen[-1]["request"]
    assert (request["object"], request["oldObject"]["metadata"]["name"]) == (None, "a")
    assert request["options"]["gracePeriodSeconds"] == 0
    assert request["name"] == "a"
    assert (await w.call("DELETE", MAPS)).status == 400
    assert "name" not in w.hooks.seen[-1]["request"], "a collection has none"
    assert [item["metadata"]["name"] for item in (await w.call("GET", MAPS)).json["items"]] == ["keep"]


@run
async def test_an_object_that_changed_meanwhile_is_asked_about_again(w):
    w.hooks.replies["/0"] = allow
    await w.call("POST", MAPS, configmap(a="1"))
    await w.configure("validating", {})
    first = w.api.call("PATCH", f"{MAPS}/c", {"data": {"b": "1"}}, MERGE)
    second = w.api.call("PATCH", f"{MAPS}/c", {"data": {"c": "1"}}, MERGE)
    async with aio.timeout(_LIMIT_S):
        await first.done.wait()
        await second.done.wait()
    assert (first.status, second.status) == (200, 200)
    assert (await w.call("GET", f"{MAPS}/c")).json["data"] == {"a": "1", "b": "1", "c": "1"}
    last = w.hooks.seen[-1]["request"]
    assert set(last["oldObject"]["data"]) == {"a", "b"} or set(last["oldObject"]["data"]) == {"a", "c"}
    assert last["object"]["data"] == {"a": "1", "b": "1", "c": "1"}


@run
async def test_warnings_reach_the_client_once(w):
    w.hooks.replies["/0"] = lambda _: {"allowed": True, "warnings": ["", "mind the gap"]}
    w.hooks.replies["/1"] = allow
    await w.configure("mutating", {}, {})
    await w.configure("validating", {"path": "/1"})
    answer = await w.call("POST", MAPS, configmap())
    assert answer.header("warning") == ['299 - "mind the gap"']


@run
async def test_entering_a_pod_is_asked_about(w):
    w.hooks.replies["/0"] = lambda r: {
        "allowed": False,
        "status": {
            "message": " ".join([r["operation"], r["subResource"], r["object"]["kind"], *r["object"]["command"]])
        },
    }
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]}
    await w.configure("validating", {"rules": [rule]})
    answer = await w.call("POST", f"/api/v1/namespaces/{NS}/pods/p/exec?command=ls&command=-l")
    assert answer.json["message"].endswith("denied the request: CONNECT exec PodExecOptions ls -l")


# --- what the cluster's own parts write --------------------------------------------------------------------------------

POD_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "DELETE"], "resources": ["pods"]}


async def reconciled(w, step):
    """Give a queue turns until its step has no more to do; returns the queue."""
    over = asyncio.Event()

    def reconcile(key, budget):
        step()
        over.set()
        return 1

    queue = WorkQueue(Pump(w.api.clock), "controller", reconcile)
    queue.add("key")
    async with aio.timeout(_LIMIT_S):
        await over.wait()
    return queue


def pods_maker(w, count):
    owner = OwnerRef.of("apps/v1", "ReplicaSet", "r", "u")
    template = w.api.trusted.pod_template({"spec": {"containers": [{"name": "c", "image": "i"}]}})
    made = []

    def step():
        while len(made) < count:
            made.append(w.api.trusted.create_pod(NS, template, owner, generate_name="r-"))

    return step, made


@run
async def test_pods_of_a_controller_are_made_as_a_webhook_wants_them(w):
    sidecar = {"name": "sidecar", "image": "s"}
    w.hooks.replies["/0"] = lambda _: patch({"op": "add", "path": "/spec/containers/-", "value": sidecar})
    await w.configure("mutating", {"rules": [POD_RULE]})
    step, made = pods_maker(w, 3)
    await reconciled(w, step)
    pods = [w.api.store.encode_dict(PODS, record) for record in w.api.store.list(PODS, NS)]
    assert len(pods) == len(made) == 3
    assert [[each["name"] for each in pod["spec"]["containers"]] for pod in pods] == [["c", "sidecar"]] * 3
    for pod in pods:
        first, second = pod["spec"]["containers"]
        assert second["volumeMounts"] == first["volumeMounts"] != [], "the built-in plug-ins looked again"
        assert sum("projected" in volume for volume in pod["spec"]["volumes"]) == 1
    # Each was asked about once, by the name and uid that it then had.
    asked = [review["request"]["object"]["metadata"] for review in w.hooks.seen]
    assert {each["name"] for each in asked} == {pod["metadata"]["name"] for pod in pods}
    assert len(asked) == 3
    user = w.hooks.seen[0]["request"]["userInfo"]["username"]
    assert user == "system:serviceaccount:kube-system:replicaset-controller"


def noting(step, refused):
    """Return a step that notes why it was refused."""

    def noted():
        try:
            step()
        except StatusError as error:
            refused.append(error.message)

    return noted


@run
async def test_a_pod_of_a_controller_that_a_webhook_refuses_is_not_made(w):
    w.hooks.replies["/0"] = lambda _: {"allowed": False, "status": {"message": "not today"}}
    await w.configure("validating", {"rules": [POD_RULE]})
    step, made = pods_maker(w, 1)
    refused = []
    await reconciled(w, noting(step, refused))
    assert refused == ['admission webhook "h0.w.io" denied the request: not today']
    assert made == []


@run
async def test_a_webhook_is_asked_before_a_controller_deletes_a_pod(w):
    step, made = pods_maker(w, 1)
    await reconciled(w, step)
    w.hooks.replies["/0"] = allow
    await w.configure("validating", {"rules": [POD_RULE]})
    await reconciled(w, lambda: w.api.trusted.delete(PODS, made[0].key, 0))
    assert [review["request"]["operation"] for review in w.hooks.seen] == ["DELETE"]
    assert w.api.store.get(PODS, made[0].key) is None


@run
async def test_answers_that_nobody_came_back_for_are_forgotten(w):
    w.hooks.replies["/0"] = allow
    await w.configure("validating", {"rules": [POD_RULE]})
    step, made = pods_maker(w, 1)
    turns = []

    def given_up_at_first():
        # Postponed once, it has something else to do when the answer is there.
        turns.append(None)
        if len(turns) == 1:
            step()

    queue = WorkQueue(Pump(w.api.clock), "controller", lambda _key, _budget: given_up_at_first() or 1)
    queue.add("key")
    async with aio.timeout(_LIMIT_S):
        while len(turns) < 2:
            await aio.sleep(0.01)
    assert (len(w.hooks.seen), made) == (1, [])
    w.hooks.replies["/0"] = lambda _: {"allowed": False, "status": {"message": "not any more"}}
    w.api.clock.now_s += 3600
    refused = []
    await reconciled(w, noting(step, refused))
    assert refused == ['admission webhook "h0.w.io" denied the request: not any more']
    assert (len(w.hooks.seen), made) == (2, [])


@run
async def test_who_writes_outside_of_a_turn_is_not_held_up(w):
    w.hooks.replies["/0"] = lambda _: {"allowed": False}
    await w.configure("validating", {"rules": [POD_RULE]})
    step, made = pods_maker(w, 1)
    step()
    assert (len(made), w.hooks.seen) == (1, [])
