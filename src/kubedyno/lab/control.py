"""Talking to an embedded cluster beside its Kubernetes API: status, kubelet files, restart."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson
import yaml

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running


def running(name: str) -> Running:
    """Return a running cluster.

    Raises:
        KubedynoError: There is none of that name.
    """
    found = embedded.find(name)
    if found is None:
        suffix = "" if name == embedded.DEFAULT_NAME else f" --name {name}"
        raise KubedynoError(f"there is no running cluster {name}; start it with: kubedyno cluster up{suffix}")
    return found


async def call_async(
    cluster: Running, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
) -> bytes:
    """Send one request to the cluster's control endpoint and return the answer's body.

    Raises:
        KubedynoError: It was refused, with the server's words.
    """
    async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
        answer = await client.request(method, path, body=body, headers=(("content-type", content_type),))
        if not 200 <= answer.status < 300:
            error = StatusError.from_response(answer.status, answer.body)
            raise KubedynoError(f"cluster {cluster.name}: {error.message}")
        return bytes(answer.body)


def call(
    name: str, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
) -> dict[str, Any]:
    """Send one request to a running cluster's control endpoint and return its JSON answer."""
    answer = aio.run(call_async(running(name), method, path, body, content_type))
    return dict(orjson.loads(answer)) if answer else {}


def text(name: str, path: str) -> str:
    """Return a text of the control endpoint, such as a kubelet's configuration file."""
    return aio.run(call_async(running(name), "GET", path)).decode()


def set_key(document: str, assignment: str) -> str:
    """Return a kubelet configuration with `key=value` (dots go deeper) set; a file that is no YAML is refused.

    Raises:
        KubedynoError: The assignment or the document is malformed.
    """
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise KubedynoError(f"--set {assignment}: write KEY=VALUE, for example --set maxPods=150")
    try:
        content = yaml.safe_load(document)
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise KubedynoError(f"/var/lib/kubelet/config.yaml is no YAML, mend it with --edit ({error})") from error
    if not isinstance(content, dict):
        raise KubedynoError("/var/lib/kubelet/config.yaml holds no mapping; mend it with --edit")
    place = content
    *parents, last = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise KubedynoError(f"--set {assignment}: {parent} is no mapping")
    place[last] = parsed
    return str(yaml.safe_dump(content, sort_keys=True, default_flow_style=False))


def edit(document: str) -> str:
    """Let the user change a text in $EDITOR and return it.

    Raises:
        KubedynoError: There is no editor, or it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="kubedyno-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(document)
        try:
            code = subprocess.call([*shlex.split(editor), str(path)])  # noqa: S603 - the user's own editor
        except OSError as error:
            raise KubedynoError(f"$EDITOR {editor}: cannot be started ({error.strerror})") from error
        if code:
            raise KubedynoError(f"$EDITOR {editor}: ended with code {code}; nothing was changed")
        return path.read_text()


def kubelet_line(node: str, status: dict[str, Any]) -> str:
    """Return one line about a kubelet from its status answer."""
    state = status.get("state", "unknown")
    detail = f"maxPods {status['maxPods']}" if state == "running" and "maxPods" in status else status.get("error", "")
    return f"{node}: kubelet {state}" + (f" ({detail})" if detail else "")


def status_lines(status: dict[str, Any]) -> list[str]:
    """Return the lines of `kubedyno cluster status`."""
    lines = []
    for key, value in status.items():
        if key == "nodes" and isinstance(value, list):
            lines.append(f"nodes: {len(value)}")
            lines += ["  " + ", ".join(f"{k} {v}" for k, v in node.items()) for node in value]
        elif key == "health" and isinstance(value, dict):
            lines += health_lines(value)
        elif isinstance(value, dict):
            lines.append(f"{key}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        else:
            lines.append(f"{key}: {value}")
    return lines


def health_lines(health: dict[str, Any]) -> list[str]:
    """Return Cilium's line about the modules' health, and one line each for those that are not OK."""
    counts = " ".join(f"{level}({count})" for level, count in health["modules"].items())
    troubles = (f"  [{one['level'].upper()}] {one['module']}: {one['message']}" for one in health["troubles"])
    return [f"Modules Health: {counts}", *(trouble.rstrip(": ") for trouble in troubles)]
