import gzip

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver.compression import GATE, THRESHOLD_BYTES
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import CONFIGMAPS
from unit.cluster.apiserver.harness import NS, Answer, Api, running

ON = ClusterSettings(feature_gates={GATE: True})
PATH = f"/api/v1/namespaces/{NS}/configmaps"


def fill(api: Api, count: int, size: int) -> None:
    for i in range(count):
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"c{i}"}, "data": {"a": "x" * size}})


async def ask(api: Api, target: str, accept: str, method: str = "GET") -> Answer:
    answer = api.call(method, target, None, {"accept-encoding": accept})
    await aio.wait_for(answer.done.wait(), 60)
    return answer


@pytest.mark.parametrize(
    ("count", "size", "target"),
    [(10, 20_000, PATH), (300, 2_000, PATH), (1, THRESHOLD_BYTES, f"{PATH}/c0"), (10, 20_000, f"{PATH}?pretty=1")],
)
def test_large_answers_are_zipped_for_who_takes_that_and_say_the_same(count: int, size: int, target: str) -> None:
    async def scene() -> None:
        async with running(ON) as api:
            fill(api, count, size)
            plain = await ask(api, target, "deflate, gzip;q=0")
            zipped = await ask(api, target, "deflate, gzip")
            assert not plain.header("content-encoding")
            assert zipped.header("content-encoding") == ["gzip"]
            assert zipped.header("vary") == ["Accept-Encoding"]
            assert len(zipped.body) < len(plain.body) / 5
            assert gzip.decompress(zipped.body) == plain.body

    aio.run(scene())


@pytest.mark.parametrize(("count", "size"), [(10, 100), (100, 100)])
def test_small_answers_are_not(count: int, size: int) -> None:
    async def scene() -> None:
        async with running(ON) as api:
            fill(api, count, size)
            answer = await ask(api, PATH, "gzip")
            assert not answer.header("content-encoding")
            assert len(orjson.loads(answer.body)["items"]) == count

    aio.run(scene())


def test_nothing_is_unless_the_gate_is_on() -> None:
    async def scene() -> None:
        async with running() as api:
            fill(api, 10, 20_000)
            assert not (await ask(api, PATH, "gzip")).header("content-encoding")

    aio.run(scene())
