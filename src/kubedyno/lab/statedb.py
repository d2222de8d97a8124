"""Reading a running cluster's StateDB tables over its control endpoint: pages joined, changes as they come."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.assembly import controltext
from kubedyno.kube import forms
from kubedyno.kube.status import StatusError
from kubedyno.lab import control
from kubedyno.lab.embedded import Running
from kubedyno.statedb import dump

ROOT = "/kubedyno/statedb"
PAGE = 2000
TABLE = "table"


def _path(table: str, asked: Mapping[str, str], part: str = "") -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{ROOT}/{quote(table, safe='')}{part}" + (f"?{query}" if query else "")


def overview(name: str) -> dict[str, Any]:
    """Return which tables a cluster has."""
    return control.call(name, "GET", ROOT)


def show(name: str, table: str, asked: Mapping[str, str], limit: int | None = None) -> dict[str, Any]:
    """Return what is in a table.

    Args:
        name: Of the cluster.
        table: Of the table.
        asked: Parameters of the endpoint: prefix, key, lowerbound, index, reverse.
        limit: Objects at most; None is all.

    Raises:
        KubedynoError: There is no such cluster, table or index, or the server says no.
    """
    return aio.run(_show(control.running(name), table, asked, limit))


async def _show(cluster: Running, table: str, asked: Mapping[str, str], limit: int | None) -> dict[str, Any]:
    document: dict[str, Any] = {}
    token = ""
    async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
        while True:
            left = PAGE if limit is None else min(PAGE, limit - len(document.get("objects", ())))
            answer = await client.request("GET", _path(table, {**asked, "limit": str(left), "continue": token}))
            if answer.status != 200:
                error = StatusError.from_response(answer.status, answer.body)
                raise KubedynoError(f"cluster {cluster.name}: {error.message}")
            page = orjson.loads(answer.body)
            token = page.pop("continue", "")
            if document:
                document["objects"] += page["objects"]
            else:
                document = page
            if not token or (limit is not None and len(document["objects"]) >= limit):
                if token:
                    document["more"] = True
                return document


def text(document: dict[str, Any], output: str) -> str:
    """Return a table's document for the terminal."""
    if output != TABLE:
        return forms.text_of(document, output)
    more = "(there is more: raise --limit)\n" if document.get("more") else ""
    return controltext.rows(document["objects"]) + more


def overview_text(document: dict[str, Any], output: str) -> str:
    """Return the list of tables for the terminal."""
    return controltext.overview(document) if output == TABLE else forms.text_of(document, output)


async def changes(cluster: Running, table: str, asked: Mapping[str, str]) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the changes of a table, each as the endpoint says it, until the server ends the stream.

    Raises:
        KubedynoError: There is no such table, or the revision is gone (410).
    """
    async with Client(kubeconfig.load(cluster.kubeconfig, None)) as client:
        stream = await client.open_stream(_path(table, asked, "/changes"))
        try:
            rest = b""
            if stream.status != 200:
                body = b"".join([part async for part in stream])
                error = StatusError.from_response(stream.status, body)
                raise KubedynoError(f"cluster {cluster.name}: {error.message}")
            async for part in stream:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield orjson.loads(line)
        finally:
            stream.close()


def change_text(change: Mapping[str, Any], output: str) -> str:
    """Return one change for the terminal."""
    if output == forms.JSON:
        return orjson.dumps(change).decode() + "\n"
    if output != TABLE:
        return ("---\n" if output == forms.YAML else "") + forms.text_of(dict(change), output)
    cells = controltext.columns_of(change["object"])
    shown = "  ".join(f"{name}={dump.cell(cell)}" for name, cell in cells.items())
    return f"{change['revision']:>8}  {change['type']:<6}  {change['key']}  {shown}\n"


async def watch(name: str, table: str, asked: Mapping[str, str], output: str, count: int | None) -> None:
    """Print the changes of a table until interrupted, the stream ends, or so many were shown.

    Raises:
        KubedynoError: There is no such table, or changes were given up before they could be told.
    """
    shown = 0
    async with aclosing(changes(control.running(name), table, asked)) as stream:
        async for change in stream:
            if change["type"] == "ERROR":
                raise KubedynoError(f"cluster {name}: {change['message']}")
            if change["type"] == "BOOKMARK":
                continue
            print(change_text(change, output), end="", flush=True)  # noqa: T201 - the command's output
            shown += 1
            if count is not None and shown >= count:
                return
