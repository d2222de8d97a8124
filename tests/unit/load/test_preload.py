"""Preload against a server that is no Kubernetes API."""

import pytest

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.client.api import Result
from kubedyno.load.engine.preload import preload


class Stranger:
    """Says yes to everything, with the same body."""

    server = "https://127.0.0.1:1"

    def __init__(self, body):
        self.body = body

    async def request(self, _method, _path, *, body=b""):
        assert body is not None
        return Result(201, self.body)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"hello", b'{"metadata": {}}', b'{"metadata": null}'])
def test_an_answer_that_is_no_object_is_one_clear_line(body):
    with pytest.raises(
        KubedynoError, match=r"127\.0\.0\.1:1: answered POST /api/v1/namespaces .*Kubernetes API server"
    ):
        aio.run(
            preload(
                Stranger(body),
                "j",
                ["nginx"],
                period_s=1,
                fixed_sleep=False,
                node_labels={},
                namespace_labels={},
                clock=SYSTEM_CLOCK,
                random=Random(),
            )
        )
