"""The probe of a node: a program that needs Python alone, and the DaemonSet that carries it to every node.

The program is the modules of `kubedyno probe` in one zip file, which a ConfigMap holds and a pod runs. Rights of the
pods: no token, no privilege, a read-only root; the host's network, to see its devices; and four capabilities: SYS_ADMIN
(network namespaces of its own), NET_ADMIN (devices in them), BPF and PERFMON (programs and maps). Without the four what
takes trying is unknown, and the rest is told.
"""

import base64
import io
import zipfile
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson

from kubedyno.advisor.hostprobe import Fact
from kubedyno.base.errors import KubedynoError

Json = dict[str, Any]
APP = "kubedyno-probe"
CONTAINER = "probe"
IMAGE = "docker.io/library/python:3.12-slim"
COMMAND = ("python3", "-I", "/probe/probe.pyz")
CAPABILITIES = ("BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN")
# Waits for the program to be run in it, and ends by itself should nobody take the DaemonSet down.
_IDLE = ("python3", "-c", "import signal; signal.alarm(900); signal.pause()")
_PACKAGES = ("kernel",)
_MODULES = ("__init__.py", "advisor/__init__.py", "advisor/host.py", "advisor/hostfacts.py", "advisor/hostprobe.py",
            "base/__init__.py", "base/errors.py")  # fmt: skip
_MAIN = """import json
from dataclasses import asdict
from kubedyno.advisor import hostprobe
print(json.dumps({"facts": [asdict(fact) for fact in hostprobe.facts()]}))
"""
# Facts of processes and files that a pod does not see.
_HIDDEN = frozenset({("machine", "irqbalance"), ("machine", "tuned profile")})
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node's answer; `error` says why there is none."""

    node: str
    facts: tuple[Fact, ...] = ()
    error: str = ""


def program() -> bytes:
    """Return the zip file; the same bytes for the same version."""
    root = resources.files("kubedyno")
    names = list(_MODULES)
    for package in _PACKAGES:
        names += sorted(f"{package}/{one.name}" for one in root.joinpath(package).iterdir() if one.name.endswith(".py"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _DATE), _MAIN)
        for name in names:
            archive.writestr(zipfile.ZipInfo(f"kubedyno/{name}", _DATE), root.joinpath(name).read_bytes())
    return buffer.getvalue()


def manifests(namespace: str, image: str, *, make_namespace: bool, capabilities: bool = True) -> list[tuple[str, Json]]:
    """Return what is created, in order: (collection path, object).

    Args:
        namespace: Where.
        image: Of the pods.
        make_namespace: Whether it is among what is created.
        capabilities: Whether the pods get those that trying takes.
    """
    labels = {"app.kubernetes.io/name": APP}
    made: list[tuple[str, Json]] = []
    if make_namespace:
        # Host network and capabilities are what the "baseline" level of pod security forbids.
        enforced = {**labels, "pod-security.kubernetes.io/enforce": "privileged"}
        made.append(
            (
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforced}},
            )
        )
    metadata = {"name": APP, "namespace": namespace, "labels": labels}
    data = base64.b64encode(program()).decode()
    made.append(
        (
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {"probe.pyz": data}},
        )
    )
    security: Json = {
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "capabilities": {"drop": ["ALL"], **({"add": list(CAPABILITIES)} if capabilities else {})},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if not capabilities:
        security["allowPrivilegeEscalation"] = False
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(_IDLE),
                "securityContext": security,
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": [{"name": "probe", "mountPath": "/probe", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "probe", "configMap": {"name": APP}}],
    }
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    made.append(
        (
            f"/apis/apps/v1/namespaces/{namespace}/daemonsets",
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec},
        )
    )
    return made


def facts_of(output: bytes) -> tuple[Fact, ...]:
    """Return the facts that the program printed.

    Raises:
        KubedynoError: It printed something else.
    """
    try:
        found = tuple(Fact(**one) for one in orjson.loads(output)["facts"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise KubedynoError(f"its output is no probe's: {output[:80]!r}") from error
    hidden = "a pod does not see the host's processes and files"
    return tuple(
        Fact(one.group, one.name, "unknown", one.how, one.sure, hidden) if (one.group, one.name) in _HIDDEN else one
        for one in found
    )


def common(nodes: list[NodeFacts]) -> tuple[list[Fact], dict[str, list[Fact]]]:
    """Return the facts that all answering nodes share, and each node's others."""
    answered = [node for node in nodes if not node.error]
    counts = Counter((fact.group, fact.name, fact.value) for node in answered for fact in node.facts)
    shared = [
        fact
        for fact in (answered[0].facts if answered else ())
        if counts[fact.group, fact.name, fact.value] == len(answered)
    ]
    same = {(fact.group, fact.name) for fact in shared}
    return shared, {
        node.node: [fact for fact in node.facts if (fact.group, fact.name) not in same] for node in answered
    }
