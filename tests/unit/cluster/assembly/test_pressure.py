from typing import Any

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.assembly.pressure import Pressure
from kubedyno.http.messages import Peer, Request, Responder
from kubedyno.kube.status import Unauthorized
from unit.cluster.apiserver.harness import Answer

PODS = "/api/v1/namespaces/ns/pods"


def pressure(groups: tuple[str, ...] = (), **limits: int) -> tuple[Pressure, list[Any]]:
    """Return limits in front of an application that keeps everybody waiting."""
    kept: list[Any] = []

    def app(_request: Request, responder: Responder) -> None:
        kept.append(responder)

    def user_of(request: Request) -> User:
        if request.headers.get("authorization") == "bad":
            raise Unauthorized("Unauthorized")
        return User("u", groups)

    return Pressure(lambda: app, user_of, **{"reading": 2, "mutating": 1, **limits}), kept


def ask(of: Pressure, method: str, target: str, **headers: str) -> Answer:
    answer = Answer()
    path, _, query = target.partition("?")
    of.app(Request(method, path, query, headers, b"", Peer(1, "")), answer)
    return answer


def test_what_is_too_much_is_told_when_to_come_back() -> None:
    limits, _ = pressure()
    assert [ask(limits, "GET", PODS).status for _ in range(3)] == [0, 0, 429]
    refused = ask(limits, "GET", PODS, authorization="bad")
    assert refused.header("retry-after") == ["1"]
    assert refused.body == b"Too many requests, please try again later.\n"
    assert limits.refused == 2


def test_reads_and_writes_count_apart() -> None:
    limits, _ = pressure()
    assert [ask(limits, method, PODS).status for method in ("POST", "PATCH", "GET", "GET", "GET")] == [
        0,
        429,
        0,
        0,
        429,
    ]
    assert limits.in_flight() == (2, 1)


def test_what_was_answered_counts_no_more() -> None:
    limits, kept = pressure()
    for _ in range(2):
        ask(limits, "GET", PODS)
    kept[0].send(200, "text/plain", b"")
    assert [ask(limits, "GET", PODS).status for _ in range(2)] == [0, 429]


def test_watches_and_streams_neither_count_nor_are_refused() -> None:
    limits, kept = pressure()
    long = [f"{PODS}?watch=true", f"{PODS}/p/log?follow=true", f"{PODS}/p/exec?command=a"]
    for target in long * 2:
        ask(limits, "GET", target)
    assert limits.in_flight() == (0, 0)
    for _ in range(2):
        assert ask(limits, "GET", f"{PODS}?watch=false").status == 0
    assert [ask(limits, "GET", target).status for target in (*long, PODS)] == [0, 0, 0, 429]
    assert len(kept) == 11


def test_masters_always_get_an_answer() -> None:
    limits, kept = pressure(("system:masters",))
    for _ in range(5):
        ask(limits, "GET", PODS)
    assert len(kept) == 5


def test_without_a_limit_nothing_is_counted() -> None:
    limits, kept = pressure(reading=0)
    for _ in range(5):
        ask(limits, "GET", PODS)
    assert len(kept) == 5
    assert limits.in_flight() == (0, 0)
