"""What clients know that read while others write: a reflector that loses its watches, a pager, a long list."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.base import aio
from kubedyno.cluster.apiserver.watchchannel import MAX_UNREAD_BYTES
from kubedyno.kube import protobuf
from kubedyno.kube.resources import CONFIGMAPS
from kubedyno.kube.status import NotFound
from unit.cluster.apiserver.harness import NS, Answer, Api, running

PATH = f"/api/v1/namespaces/{NS}/configmaps"
FORMS = {
    "json": "application/json",
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io",
    "metadata": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "protobuf": "application/vnd.kubernetes.protobuf",
}
SELECTORS = ("", "labelSelector=x%3D1", "labelSelector=x!%3D1", "fieldSelector=metadata.name!%3Da", "labelSelector=!x")
NAMES = st.sampled_from("abcd")
WRITES = st.one_of(
    st.tuples(st.just("put"), NAMES, st.sampled_from([None, "1", "2"])), st.tuples(st.just("delete"), NAMES, st.none())
)
READS = st.one_of(
    st.tuples(st.sampled_from(["drop", "cut", "turn"]), st.integers(0, 3), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 3), st.none()),
)


def write(api: Api, step: str, name: str, label: str | None) -> None:
    """Create, change or delete an object, if there is one."""
    labels = {"x": label} if label else {}
    if step == "delete":
        with suppress(NotFound):
            api.registry.delete(CONFIGMAPS, NS, name)
    elif api.store.get(CONFIGMAPS, f"{NS}/{name}") is None:
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": name, "labels": labels}})
    else:

        def changed(obj: dict[str, Any]) -> dict[str, Any]:
            data = {"n": str(api.store.revision)}
            return {**obj, "metadata": {**obj["metadata"], "labels": labels}, "data": data}

        api.registry.modify(CONFIGMAPS, NS, name, changed)


def decoded(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return type and metadata of a watch's events, in whatever form."""
    raw = answer.body
    if "protobuf" not in answer.media:
        for event in map(orjson.loads, raw.splitlines()):
            shown = event["object"]
            shown = shown["rows"][0]["object"] if "rows" in shown else shown
            yield event["type"], shown.get("metadata", {})
        return
    while raw:
        size = int.from_bytes(raw[:4], "big")
        frame, raw = raw[4 : 4 + size], raw[4 + size :]
        yield frame[2 : 2 + frame[1]].decode(), protobuf.decode(frame[frame.index(protobuf.MAGIC) :])["metadata"]


class Reflector:
    """A client that keeps a copy by one watch after another, each from where the last one ended."""

    def __init__(self, api: Api, form: str, selector: str) -> None:
        self._api, self._form, self._selector = api, form, selector
        self.known: dict[str, int] = {}
        self._revision = ""
        self._answer = self._open()

    def _open(self) -> Answer:
        since = f"&resourceVersion={self._revision}" if self._revision else ""
        asked = f"{PATH}?watch=1&allowWatchBookmarks=1&{self._selector}{since}"
        return self._api.call("GET", asked, headers={"accept": FORMS[self._form]})

    def take(self) -> None:
        """Take in what has come; nothing comes twice, nothing goes back."""
        for kind, metadata in decoded(self._answer):
            assert kind != "ERROR"
            revision = int(metadata["resourceVersion"])
            # What a watch begins with is in order of names.
            assert not self._revision or revision >= int(self._revision)
            name = metadata.get("name", "")
            if kind == "DELETED":
                del self.known[name]
            elif kind != "BOOKMARK":
                assert (kind == "ADDED") is (name not in self.known)
                self.known[name] = revision
            if self._revision or kind == "BOOKMARK":
                self._revision = str(revision)
        self._answer.pieces.clear()

    def drop(self) -> None:
        """Lose the connection, with what has come but was not read."""
        self._answer.closed = True
        if self._answer.on_close is not None:
            self._answer.on_close()
        if not self._revision:
            self.known.clear()
        self._answer = self._open()

    def stall(self) -> None:
        """Read nothing any more, until the server cuts the watch."""
        self._answer.buffered = MAX_UNREAD_BYTES + 1

    def resume(self) -> None:
        """Begin anew if the server has ended the watch."""
        if self._answer.closed:
            self._answer.pieces.clear()
            self._answer = self._open()
        self._answer.buffered = 0


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(FORMS)), st.sampled_from(SELECTORS)), min_size=1, max_size=4),
    st.lists(st.one_of(WRITES, WRITES, READS), max_size=60),
)
def test_who_resumes_from_the_last_revision_seen_loses_nothing(views, steps):
    async def scene() -> None:
        async with running() as api:
            write(api, "put", "a", "1")
            reflectors = [Reflector(api, form, selector) for form, selector in views]
            for reflector in reflectors:
                reflector.take()
            for step, what, label in steps:
                if step in {"put", "delete"}:
                    write(api, step, what, label)
                    continue
                if step == "wait":
                    await turns(what)
                    continue
                reflector = reflectors[what % len(reflectors)]
                if step == "drop":
                    reflector.drop()
                elif step == "cut":
                    reflector.stall()
                else:
                    reflector.resume()
                    reflector.take()
            for _ in range(2):
                await turns()
                for reflector in reflectors:
                    reflector.resume()
            await turns()
            for reflector, (_, selector) in zip(reflectors, views, strict=True):
                reflector.take()
                items = api.call("GET", f"{PATH}?{selector}").json["items"]
                there = {each["metadata"]["name"]: int(each["metadata"]["resourceVersion"]) for each in items}
                assert reflector.known == there, selector

    aio.run(scene())


def seen(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["metadata"]["name"], each["metadata"]["resourceVersion"]) for each in items]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(WRITES, max_size=12),
    st.integers(1, 3),
    st.sampled_from(SELECTORS),
    st.lists(st.lists(WRITES, max_size=4), max_size=8),
)
def test_pages_are_of_one_moment_whatever_is_written_between_them(before, limit, selector, between):
    async def scene() -> None:
        async with running() as api:
            for step in before:
                write(api, *step)
            whole = api.call("GET", f"{PATH}?{selector}").json
            writes = iter(between)
            found: list[tuple[str, str]] = []
            token = ""
            while True:
                query = f"{PATH}?{selector}&limit={limit}" + (f"&continue={quote(token)}" if token else "")
                page = api.call("GET", query).json
                assert page["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]
                found += seen(page["items"])
                token = page["metadata"].get("continue", "")
                if not token:
                    break
                for step in next(writes, []):
                    write(api, *step)
            assert found == seen(whole["items"])

    aio.run(scene())


def test_a_long_list_is_of_one_moment_while_a_flood_of_writes_runs():
    async def scene() -> None:
        async with running() as api:
            for i in range(700):
                write(api, "put", f"n{i:03}", "1" if i % 2 else None)
            for selector in ("", "labelSelector=x%3D1"):
                whole = api.store.list(CONFIGMAPS, NS)
                wanted = [
                    (each.obj.name, str(each.revision)) for each in whole if not selector or each.obj.labels.get("x")
                ]
                answer = api.call("GET", f"{PATH}?{selector}", headers={"accept": FORMS["table"]})
                writes = 0
                while not answer.done.is_set():
                    write(api, "delete" if writes % 3 else "put", f"n{writes * 7 % 700:03}", "1")
                    writes += 1
                    await asyncio.sleep(0)
                assert writes > 10
                assert seen([row["object"] for row in answer.json["rows"]]) == wanted

    aio.run(scene())


class Reader(Answer):
    """A client's end: what it does not read stays with the server."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__()
        self._reads = reads
        self.most = 0

    def write(self, data: bytes) -> None:
        if self._reads:
            super().write(data)
        elif not self.closed:
            self.buffered += len(data)
            self.most = max(self.most, self.buffered)


def test_of_a_thousand_watchers_those_who_do_not_read_are_cut_at_a_bound_and_the_others_miss_nothing():
    views = [(form, selector) for form in sorted(FORMS) for selector in SELECTORS]
    changes, text = 300, "x" * 20_000

    async def scene() -> None:
        async with running() as api:
            write(api, "put", "a", "1")
            start = api.store.revision
            readers = []
            for i in range(1000):
                form, selector = views[i % len(views)]
                asked = f"{PATH}?watch=1&{selector}&resourceVersion={start}"
                reader = Reader(reads=i % 10 > 0)
                api.call("GET", asked, headers={"accept": FORMS[form]}, answer=reader)
                readers.append((reader, form, selector))
            for i in range(changes):
                labels = {"x": str(i % 2)}
                metadata = {"name": f"n{i}", "labels": labels, "annotations": {"text": text}}
                api.registry.create(CONFIGMAPS, NS, {"metadata": metadata})
                await asyncio.sleep(0)
            await turns(50)
            wanted = {"": changes, SELECTORS[1]: changes // 2, SELECTORS[2]: changes // 2, SELECTORS[3]: changes}
            first: dict[tuple[str, str], Reader] = {}
            for reader, *view in readers:
                form, selector = view
                told = wanted.get(selector, 0)
                if reader._reads and (form, selector) not in first:
                    first[form, selector] = reader
                    assert sum(1 for _ in decoded(reader)) == told
                elif reader._reads:
                    assert reader.pieces == first[form, selector].pieces
                elif told * len(text) > MAX_UNREAD_BYTES + len(text):
                    assert reader.aborted
                    assert reader.most < MAX_UNREAD_BYTES + 2 * len(text)
            assert api.server.watchers == sum(not reader.closed for reader, _, _ in readers)

    aio.run(scene())
