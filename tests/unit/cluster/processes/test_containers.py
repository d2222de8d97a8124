"""From a pod's spec to command lines, environments and fences; images that are known."""

import sys

import pytest

from kubedyno.cluster.processes.containers import (
    breach_of,
    command_of,
    environment_of,
    expanded,
    refusal_of,
    user_of,
)
from kubedyno.cluster.processes.images import entry_of, repository_of
from kubedyno.cluster.processes.output import KEPT_BYTES, ContainerLog
from kubedyno.cluster.processes.volumes import decoded, hostname_of, plan_of


def pod(container=None, **spec):
    container = {"name": "c", "image": "busybox", **(container or {})}
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}}
    return {"metadata": metadata, "spec": {"nodeName": "n", "containers": [container], **spec}}


def nothing(_kind, _name):
    return {}


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("busybox", "library/busybox"),
        ("busybox:1.36", "library/busybox"),
        ("networkstatic/iperf3", "networkstatic/iperf3"),
        ("quay.io/cilium/network-perf:3@sha256:00", "cilium/network-perf"),
        ("localhost:5000/team/iperf3:v1", "team/iperf3"),
    ],
)
def test_a_repository_has_no_host_tag_or_digest(reference, repository):
    assert repository_of(reference) == repository


def test_known_images_have_an_entry_and_users_add_theirs():
    assert entry_of("networkstatic/iperf3", {}).entrypoint == ("iperf3",)
    assert entry_of("nginx", {}) is None
    assert entry_of("nginx:1.27", {"library/nginx": ["mine", "-g"]}).entrypoint == ("mine", "-g")
    assert entry_of("networkstatic/iperf3", {"*iperf3": ["other"]}).entrypoint == ("other",)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": "networkstatic/iperf3", "args": ["-s"]}, ["iperf3", "-s"]),
        ({"image": "networkstatic/iperf3", "command": ["sleep"], "args": ["inf"]}, ["sleep", "inf"]),
        ({"image": "busybox"}, ["sh"]),
        ({"image": "busybox", "args": ["ls", "$(DIR)", "$$(DIR)", "$(NONE)"]}, ["ls", "/x", "$(DIR)", "$(NONE)"]),
    ],
)
def test_command_and_args_stand_for_entrypoint_and_default(container, words):
    assert command_of({"name": "c", **container}, {}, {"DIR": "/x"}) == words


def test_expansion_knows_dollars():
    assert expanded("a$b $(A)$(A) $$(A)", {"A": "1"}) == "a$b 11 $(A)"


def test_an_environment_has_services_fields_maps_and_references_to_itself():
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    container = {
        "name": "c",
        "image": "busybox",
        "env": env,
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
    }
    data = {("secret", "s"): {"k": "v"}, ("configmap", "m"): {"x": "y"}}
    found = environment_of(
        pod(container), container, {"status.podIP": "10.0.0.1"}, {"W_SERVICE_HOST": "10.96.0.9"},
        lambda kind, name: data[kind, name],
    )  # fmt: skip
    wanted = {
        "A": "1", "B": "12", "IP": "10.0.0.1", "APP": "x", "NODE": "n", "KEY": "v", "P_x": "y", "HOSTNAME": "p",
        "W_SERVICE_HOST": "10.96.0.9",
    }  # fmt: skip
    assert wanted.items() <= found.items()
    assert "PYTHONPATH" not in found


def test_our_own_image_finds_this_interpreter():
    container = {"name": "c", "image": "kubedyno"}
    found = environment_of(pod(container), container, {}, {}, nothing)
    assert found["PATH"].split(":")[0] in sys.executable
    assert found["PYTHONPATH"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (pod({"image": "nginx"}), "image nginx stands for no local command"),
        (pod({"securityContext": {"privileged": True}}), "no real pod is privileged"),
        (pod({"securityContext": {"capabilities": {"add": ["NET_RAW", "NET_ADMIN"]}}}), "capability NET_ADMIN"),
        (pod(hostPID=True), "hostPID"),
        (pod(hostIPC=True), "hostIPC"),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "volume v: hostPath"),
        (pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]), "persistentVolumeClaim"),
        (pod(initContainers=[{"name": "i", "image": "unknown"}]), "image unknown"),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]}), "subPath"),
    ],
)
def test_what_the_fence_does_not_give_is_refused(made, words):
    assert words in refusal_of(made, {})


def test_harmless_pods_are_taken():
    assert refusal_of(pod(), {}) == ""
    context = {"capabilities": {"add": ["NET_RAW"], "drop": ["ALL"]}, "privileged": False}
    assert (
        refusal_of(pod({"securityContext": context}, hostNetwork=True, volumes=[{"name": "e", "emptyDir": {}}]), {})
        == ""
    )


def test_a_plan_has_names_files_and_mounts():
    made = pod(
        {"volumeMounts": [{"name": "m", "mountPath": "/etc/m"}]},
        volumes=[{"name": "m", "configMap": {"name": "cm", "items": [{"key": "a", "path": "sub/a.txt"}]}}],
        hostAliases=[{"ip": "1.2.3.4", "hostnames": ["one", "two"]}],
    )
    plan = plan_of(made, "10.0.0.5", "10.96.0.10", lambda *_: {"a": "text", "b": "other"}, lambda *_: "", {})
    assert plan["volumes"] == {"m": {"sub/a.txt": ("text", 0o644)}}
    assert plan["mounts"] == [["m", "/etc/m"]]
    assert "10.0.0.5\tp\n1.2.3.4\tone two\n" in plan["files"]["/etc/hosts"]
    assert plan["files"]["/etc/resolv.conf"].startswith("search ns.svc.cluster.local ")
    assert not any(path == "/" or path.startswith("/usr") for path in plan["programs"])


def test_binary_data_is_in_files_and_not_in_variables():
    kept = {"data": {"a": "text"}, "binaryData": {"b": "/wDCqQ=="}}
    container = {"name": "c", "image": "x", "envFrom": [{"configMapRef": {"name": "cm"}}]}
    made = pod(volumes=[{"name": "m", "configMap": {"name": "cm"}}])

    def data(kind, name):
        return decoded(kind, kept)

    files = plan_of(made, "10.0.0.5", "10.96.0.10", data, lambda *_: "", {})["volumes"]["m"]
    assert {name: text.encode(errors="surrogateescape") for name, (text, _) in files.items()} == {
        "a": b"text",
        "b": b"\xff\x00\xc2\xa9",
    }
    found = environment_of(made, container, {}, {}, data)
    assert found["a"] == "text"
    assert "b" not in found


def test_a_secret_that_is_no_text_is_no_variable():
    container = {"name": "c", "image": "x", "envFrom": [{"secretRef": {"name": "s"}}]}
    found = environment_of(
        pod(), container, {}, {}, lambda kind, _: decoded(kind, {"data": {"a": "YQ==", "b": "/w==", "c": "AA=="}})
    )
    assert {"a", "b", "c"} & found.keys() == {"a"}


def test_a_token_is_asked_for_as_the_volume_says_and_left_out_where_there_is_none():
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    vault = {"serviceAccountToken": {"path": "vault", "audience": "vault"}}
    made = pod(volumes=[{"name": "t", "projected": {"sources": [token, vault]}}])
    plan = plan_of(made, "10.0.0.5", "10.96.0.10", lambda *_: {}, lambda audience, lasting: f"{audience}/{lasting}", {})
    assert plan["volumes"] == {"t": {"token": ("/3607", 0o644), "vault": ("vault/3600", 0o644)}}
    assert plan_of(made, "10.0.0.5", "10.96.0.10", lambda *_: {}, lambda *_: "", {})["volumes"] == {"t": {}}


def test_hostname_and_user_follow_the_spec():
    assert hostname_of(pod(hostname="h")) == "h"
    assert hostname_of(pod(hostNetwork=True)) == "n"
    made = pod({"securityContext": {"runAsUser": 7}}, securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3})
    assert user_of(made, made["spec"]["containers"][0]) == {"uid": 7, "gid": 2, "groups": [2, 3]}


def test_a_log_has_whole_lines_and_a_bound():
    log, seen = ContainerLog(), []
    log.follow(seen.append)
    log.write(1, b"one\ntw", 1.0)
    log.write(2, b"err\n", 2.0)
    log.write(1, b"o\r\nrest", 3.0)
    assert [(line.at_s, line.text) for line in log.lines] == [(1.0, b"one"), (2.0, b"err"), (3.0, b"two")]
    log.close(4.0)
    assert [line.text if line else None for line in seen] == [b"one", b"err", b"two", b"rest", None]
    big = ContainerLog()
    for _ in range(300):
        big.write(1, b"x" * 9999 + b"\n", 0.0)
    assert KEPT_BYTES - 10_000 < sum(len(line.text) for line in big.lines) <= KEPT_BYTES


ALLOCATABLE = {"allocatable.cpu": "3500m", "allocatable.memory": "1Gi"}
RESOURCES = {"limits": {"memory": "64Mi"}, "requests": {"cpu": "1100m", "memory": "1500"}}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"resource": "limits.memory"}, "67108864"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "limits.memory", "divisor": "0"}, "67108864"),
        ({"resource": "requests.memory", "divisor": "1Ki"}, "2"),
        ({"resource": "requests.cpu"}, "2"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "1100"),
        ({"resource": "limits.cpu"}, "4"),
        ({"resource": "limits.ephemeral-storage"}, "0"),
        ({"resource": "requests.ephemeral-storage"}, "0"),
    ],
)
def test_resources_are_told_in_units_rounded_up_and_a_missing_limit_is_the_nodes(source, text):
    container = {"name": "c", "image": "x", "resources": RESOURCES}
    container["env"] = [{"name": "R", "valueFrom": {"resourceFieldRef": source}}]
    assert environment_of(pod(container), container, ALLOCATABLE, {}, nothing)["R"] == text
    item = {"path": "r", "resourceFieldRef": {**source, "containerName": "c"}}
    made = pod(container, volumes=[{"name": "d", "downwardAPI": {"items": [item]}}])
    plan = plan_of(made, "10.0.0.5", "10.96.0.10", nothing, lambda *_: "", ALLOCATABLE)
    assert plan["volumes"] == {"d": {"r": (text, 0o644)}}


def test_a_downward_volume_tells_of_its_pod_and_modes_are_as_said():
    items = [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "in/labels", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.labels"}},
    ]
    secret = {"secretName": "s", "defaultMode": 0o440, "items": [{"key": "k", "path": "k", "mode": 0o600}]}
    made = pod(
        securityContext={"fsGroup": 7},
        volumes=[
            {"name": "d", "downwardAPI": {"items": items}},
            {"name": "p", "projected": {"defaultMode": 0o444, "sources": [{"downwardAPI": {"items": items}}]}},
            {"name": "s", "secret": secret},
            {"name": "w", "secret": {"secretName": "s", "defaultMode": 0o440}},
        ],
    )
    made["metadata"]["labels"]["a"] = 'say "hi"'
    plan = plan_of(made, "10.0.0.5", "10.96.0.10", lambda *_: {"k": "v"}, lambda *_: "", {})
    labels = ('a="say \\"hi\\""\napp="x"', 0o400)
    assert plan["volumes"] == {
        "d": {"name": ("p", 0o644), "in/labels": labels},
        "p": {"name": ("p", 0o444), "in/labels": labels},
        "s": {"k": ("v", 0o600)},
        "w": {"k": ("v", 0o440)},
    }
    assert plan["group"] == 7


@pytest.mark.parametrize(
    ("whole", "own", "words"),
    [
        ({}, {}, ""),
        ({"runAsNonRoot": True}, {}, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, {}, "container's runAsUser breaks non-root policy"),
        ({"runAsNonRoot": True, "runAsUser": 1000}, {}, ""),
        ({"runAsUser": 1000}, {"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy"),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, ""),
    ],
)
def test_a_container_that_must_not_be_roots_is_not_created_as_root(whole, own, words):
    made = pod({"securityContext": own}, securityContext=whole)
    wanted = f'{words} (pod: "p_ns(u)", container: c)' if words else ""
    assert breach_of(made, made["spec"]["containers"][0]) == wanted
