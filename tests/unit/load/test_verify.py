"""Counting what was made, over lists that expire on the way."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from kubedyno.http.exchange import Result
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.verify import count

PODS = Mapping("v1", "Pod", "pods", True, frozenset({"list"}))


class Api:
    """Answers a list with what is prepared for each continue token; counts what it is asked for."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    async def request(self, _method, path, *, headers=()):
        token = parse_qs(urlsplit(path).query).get("continue", [""])[0]
        self.asked.append(token)
        status, items, following = self.answers[token]
        # As a real server has it where there is nothing.
        found = [{}] * items or None
        body = {"metadata": {"continue": following} if following else {}, "items": found}
        return Result(status, orjson.dumps(body))


def test_pages_add_up():
    api = Api({"": (200, 3, "a"), "a": (200, 2, "")})
    assert asyncio.run(count(api, PODS, "x=y")) == 5


def test_where_nothing_is_there_nothing_is_counted():
    assert asyncio.run(count(Api({"": (200, 0, "")}), PODS, "x=y")) == 0


def test_an_expired_list_goes_on_where_the_server_says():
    api = Api({"": (200, 3, "a"), "a": (410, 0, "b"), "b": (200, 2, "")})
    assert asyncio.run(count(api, PODS, "x=y")) == 5
    assert api.asked == ["", "a", "b"]


def test_a_server_that_offers_no_way_on_is_asked_anew_a_few_times():
    api = Api({"": (200, 3, "a"), "a": (410, 0, "")})
    with pytest.raises(StatusError):
        asyncio.run(count(api, PODS, "x=y"))
    assert api.asked == ["", "a"] * 5
