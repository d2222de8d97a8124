"""Configurations that lie on a cluster: the keys of a ConfigMap become files of the working directory."""

from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab.target import Choice

CONFIG = "config.yml"


async def fetch_configmap(choice: Choice, namespace: str, name: str, directory: Path) -> str:
    """Write each key of a ConfigMap as a file and return the path of its configuration.

    Raises:
        KubedynoError: It cannot be read, lacks config.yml, or a key is no plain file name.
    """
    async with Client(choice.target) as client:
        try:
            found = await client.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except StatusError as error:
            raise KubedynoError(f"--configmap {name}: {error.message}") from error
    data = found.get("data") or {}
    if CONFIG not in data:
        raise KubedynoError(f"--configmap {name}: has no key {CONFIG}; it holds {', '.join(sorted(data)) or 'nothing'}")
    for key, text in data.items():
        if key != Path(key).name or key in {".", ".."}:
            raise KubedynoError(f"--configmap {name}: the key {key!r} is no file name")
        try:
            (directory / key).write_text(text, encoding="utf-8")
        except OSError as error:
            raise KubedynoError(f"{directory / key}: cannot be written ({error.strerror})") from error
    return str(directory / CONFIG)
