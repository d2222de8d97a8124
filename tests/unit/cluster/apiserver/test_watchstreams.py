"""How watches begin and end that are no plain ones: over WebSocket, without time, of a revision to come, in no shape."""

import json
import struct

from kubedyno.base import aio
from kubedyno.cluster.apiserver import revisions
from kubedyno.http.websocket import accept_key, frame
from unit.cluster.apiserver.harness import NS, Answer, running
from unit.cluster.apiserver.test_watch import PATH, create, names, turns

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
    "origin": "http://x",
}
MASK = b"\1\2\3\4"
PROTOBUF = "application/vnd.kubernetes.protobuf"
METADATA_LIST = {"accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the opcodes and payloads of a server's frames."""
    found = []
    while data:
        size, at = data[1], 2
        if size == 126:
            (size,), at = struct.unpack(">H", data[2:4]), 4
        found.append((data[0] & 15, data[at : at + size]))
        data = data[at + size :]
    return found


class Switched(Answer):
    """A responder whose connection can switch protocols."""

    on_data = None

    def upgrade(self, headers):
        return self.start(101, "", headers)


def open_socket(api, query, headers=HANDSHAKE):
    return api.call("GET", f"{PATH}?watch=1&{query}", headers=headers, answer=Switched())


def test_each_event_is_a_message_of_a_websocket():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            answer = open_socket(api, "allowWatchBookmarks=1")
            create(api, "b")
            await turns()
            assert answer.status == 101
            assert answer.header("sec-websocket-accept") == [accept_key(KEY)]
            told = [(opcode, json.loads(data)) for opcode, data in frames(answer.body)]
            assert [(opcode, event["type"]) for opcode, event in told] == [(1, "ADDED"), (1, "BOOKMARK"), (1, "ADDED")]

    aio.run(scene())


def test_events_in_protobuf_are_binary_messages_without_their_length():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            create(api, "b")
            answer = open_socket(api, "", {**HANDSHAKE, "accept": PROTOBUF})
            assert [(opcode, data[:7]) for opcode, data in frames(answer.body)] == [(2, b"\n\5ADDED")] * 2

    aio.run(scene())


def test_pings_of_a_client_that_reads_nothing_are_not_answered():
    async def scene() -> None:
        async with running() as api:
            answer = open_socket(api, "")
            answer.buffered = 1 << 20
            answer.on_data(frame(9, b"you?", mask=MASK))
            assert answer.body == b""
            answer.buffered = 0
            answer.on_data(frame(9, b"you?", mask=MASK))
            assert frames(answer.body) == [(10, b"you?")]

    aio.run(scene())


def test_a_client_that_leaves_its_websocket_is_forgotten_and_pings_are_answered():
    async def scene() -> None:
        async with running() as api:
            answer = open_socket(api, "")
            answer.on_data(frame(9, b"you?", mask=MASK) + frame(1, b"hello", mask=MASK))
            assert frames(answer.body) == [(10, b"you?")]
            assert api.server.watchers == 1
            answer.on_data(frame(8, b"", mask=MASK))
            assert (frames(answer.body)[-1], answer.closed) == ((8, b"\3\xe8"), True)
            assert api.server.watchers == 0

    aio.run(scene())


def test_a_client_that_breaks_the_protocol_is_told_so_and_forgotten():
    async def scene() -> None:
        async with running() as api:
            answer = open_socket(api, "")
            # No client's frame goes without a mask.
            answer.on_data(frame(1, b"hello"))
            assert (frames(answer.body), answer.closed, api.server.watchers) == ([(8, b"\3\xea")], True, 0)

    aio.run(scene())


def test_handshakes_are_refused_as_gos_library_does():
    async def scene() -> None:
        async with running() as api:
            for change, status, text in (
                ({"sec-websocket-key": ""}, 400, b"mismatch challenge/response"),
                ({"sec-websocket-version": "8"}, 400, b"missing or bad WebSocket Version"),
                ({"origin": "null"}, 403, b""),
                ({"origin": ""}, 403, b""),
                ({"sec-websocket-protocol": "a, b"}, 400, b""),
            ):
                answer = open_socket(api, "", {**HANDSHAKE, **change})
                assert (answer.status, answer.body) == (status, text), change
            answer = open_socket(api, "", {**HANDSHAKE, "sec-websocket-protocol": "a"})
            assert answer.header("sec-websocket-protocol") == ["a"]
            assert api.server.watchers == 1

    aio.run(scene())


def test_a_watch_whose_time_is_over_ends_at_once():
    async def scene() -> None:
        async with running() as api:
            create(api, "a")
            answer = api.call("GET", f"{PATH}?watch=1&timeoutSeconds=-1")
            assert (answer.status, answer.body, answer.closed) == (200, b"", True)
            assert api.server.watchers == 0

    aio.run(scene())


def test_objects_that_no_shape_shows_end_their_watch():
    async def scene() -> None:
        async with running() as api:
            answer = api.call("GET", f"{PATH}?watch=1&resourceVersion={api.store.revision}", headers=METADATA_LIST)
            assert (answer.closed, api.server.watchers) == (False, 1)
            create(api, "a")
            await turns()
            assert (answer.body, answer.closed, api.server.watchers) == (b"", True, 0)

    aio.run(scene())


def test_what_is_there_is_told_once_the_revision_has_come(monkeypatch):
    monkeypatch.setattr(revisions, "REVISION_WAIT_S", 0.3)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"

    async def scene() -> None:
        async with running() as api:
            to_come = api.store.revision + 1
            answer = api.call("GET", f"{PATH}?{query}&resourceVersion={to_come}")
            assert answer.body == b""
            create(api, "a")
            never = api.call("GET", f"{PATH}?{query}&resourceVersion={to_come + 5}")
            await aio.wait_for(never.done.wait(), 5)
            assert names(answer) == [("ADDED", "a"), ("BOOKMARK", "")]
            ((kind, status),) = never.events
            assert (kind, status["code"]) == ("ERROR", 504)
            assert status["message"] == f"Timeout: Too large resource version: {to_come + 5}, current: {to_come}"
            assert status["details"]["retryAfterSeconds"] == 1

    aio.run(scene())


def test_an_old_path_that_names_another_object_than_its_selector_is_refused_after_its_options():
    async def scene() -> None:
        async with running() as api:
            old = f"/api/v1/watch/namespaces/{NS}/configmaps/a?fieldSelector=metadata.name%3Db"
            assert api.call("GET", old).json["message"] == "fieldSelector metadata.name doesn't match requested name"
            assert api.call("GET", f"{old}&sendInitialEvents=true").status == 422
            unknown = api.call("GET", old.replace("metadata.name", "spec.x"))
            assert '"spec.x" is not a known field selector' in unknown.json["message"]

    aio.run(scene())


def test_a_list_of_one_name_in_one_namespace_has_no_pages():
    async def scene() -> None:
        async with running() as api:
            for name in "abc":
                create(api, name)
            one = api.call("GET", "/api/v1/configmaps?limit=1&fieldSelector=metadata.name%3Da,metadata.namespace%3Dns")
            assert ([each["metadata"]["name"] for each in one.json["items"]], "continue" in one.json["metadata"]) == (
                ["a"],
                False,
            )

    aio.run(scene())
