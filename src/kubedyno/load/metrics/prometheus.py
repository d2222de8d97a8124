"""Client of a Prometheus: instant and range queries, with a bearer token or a password.

An answer is decoded series by series into 16 bytes a value: a day of a large cluster is millions of them.
"""

import asyncio
import base64
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode, urlsplit

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.messages import Headers
from kubedyno.http.tls import client_context

# Queries under way at once.
CONCURRENCY = 8
_TIMEOUT_S = 300.0


class QueryError(KubedynoError):
    """A query failed."""


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series in order of time: `at_s` and `values` are of one length, at least 1.

    `labels` are without the metric's name; what is not finite is 0, as in the original.
    """

    labels: dict[str, str]
    at_s: "array[float]"
    values: "array[float]"

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return zip(self.at_s, self.values, strict=True)


_Point = tuple[float, str]


class _Entry(msgspec.Struct):
    metric: dict[str, str] = msgspec.field(default_factory=dict)
    values: list[_Point] = msgspec.field(default_factory=list)
    value: _Point | None = None


class _Data(msgspec.Struct):
    resultType: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    errorType: str | None = None
    error: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_point = msgspec.json.Decoder(_Point).decode


@dataclass(frozen=True, slots=True)
class Login:
    """Where, and as whom. A token wins over a password."""

    url: str
    token: str = ""
    username: str = ""
    password: str = ""
    skip_tls_verify: bool = True
    step_s: float = 30.0


class Prometheus:
    """One server; used as an async context manager.

    Raises:
        KubedynoError: The URL is wrong.
    """

    def __init__(self, login: Login) -> None:
        parts = urlsplit(login.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise KubedynoError(f"{login.url}: is no URL of a Prometheus; write for example http://127.0.0.1:9090")
        self.login = login
        secure = parts.scheme == "https"
        host, port = parts.hostname, parts.port or (443 if secure else 80)
        context = client_context(None, None, verify=not login.skip_tls_verify) if secure else None
        self._endpoint = Endpoint(host, port, parts.netloc.rpartition("@")[2], context)
        self._base = parts.path.rstrip("/")
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if login.token:
            headers.append(("Authorization", f"Bearer {login.token}"))
        elif login.username:
            secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
            headers.append(("Authorization", f"Basic {secret}"))
        self._headers: Headers = tuple(headers)
        self._pool: Pool | None = None
        self._turns = asyncio.Semaphore(CONCURRENCY)

    async def __aenter__(self) -> Self:
        self._pool = Pool(self._endpoint, PoolLimits(timeout_s=_TIMEOUT_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def check(self) -> None:
        """Ask `up{}`, as the original does when it starts.

        Raises:
            QueryError: It cannot be asked.
        """
        await self._ask("query", {"query": "up{}"})

    async def instant(self, query: str, at_s: float) -> list[Series]:
        """Return the series of a query at a moment, each with one value.

        Raises:
            QueryError: The query fails.
        """
        return await self._ask("query", {"query": query, "time": f"{at_s:.3f}"})

    async def range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """Return the series of a query over a window; raises as `instant`."""
        window = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
        return await self._ask("query_range", {"query": query, **window})

    async def _ask(self, what: str, values: dict[str, str]) -> list[Series]:
        assert self._pool is not None, "the client has not been entered"
        async with self._turns:
            try:
                answer = await self._pool.request(
                    "POST", f"{self._base}/api/v1/{what}", self._headers, urlencode(values).encode()
                )
            except OSError as error:
                raise QueryError(f"{self.login.url}: {error.strerror or error}") from error
        try:
            document = _decode_answer(answer.body)
            if answer.status != 200 or document.status != "success":
                raise QueryError(f"{self.login.url}: {document.errorType or answer.status}: {document.error}")
            return _series(document.data or _Data())
        except (msgspec.DecodeError, ValueError) as error:
            text = answer.body[:100].decode(errors="replace").strip()
            raise QueryError(f"{self.login.url}: answers {answer.status} {text!r}; is it a Prometheus?") from error


def _series(data: _Data) -> list[Series]:
    """Decode a result; raises DecodeError and ValueError when it is none."""
    if data.resultType == "string":
        return []
    if data.resultType == "scalar":
        at_s, value = _decode_point(data.result)
        return [Series({}, array("d", (at_s,)), array("d", (_value(value),)))]
    found = []
    for raw in _decode_entries(data.result):
        entry = _decode_entry(raw)
        points = entry.values or ([entry.value] if entry.value is not None else [])
        entry.metric.pop("__name__", None)
        if points:
            at = array("d", (at_s for at_s, _ in points))
            found.append(Series(entry.metric, at, array("d", (_value(text) for _, text in points))))
    return found


def _value(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else 0.0
