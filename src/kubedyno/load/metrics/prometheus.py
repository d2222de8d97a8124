"""Client of a Prometheus: instant and range queries, with a bearer token or a password."""

import asyncio
import base64
import math
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import orjson

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
class Sample:
    """One value of a series; `labels` without the metric's name; NaN is 0, as in the original."""

    labels: dict[str, str]
    at_s: float
    value: float


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

    async def instant(self, query: str, at_s: float) -> list[list[Sample]]:
        """Return the series of a query at a moment, each with one sample.

        Raises:
            QueryError: The query fails.
        """
        return _series(await self._ask("query", {"query": query, "time": f"{at_s:.3f}"}), at_s)

    async def range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[list[Sample]]:
        """Return the series of a query over a window; raises as `instant`."""
        answer = await self._ask(
            "query_range",
            {"query": query, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"},
        )
        return _series(answer, end_s)

    async def _ask(self, what: str, values: dict[str, str]) -> dict[str, Any]:
        assert self._pool is not None, "the client has not been entered"
        async with self._turns:
            try:
                answer = await self._pool.request(
                    "POST", f"{self._base}/api/v1/{what}", self._headers, urlencode(values).encode()
                )
            except OSError as error:
                raise QueryError(f"{self.login.url}: {error.strerror or error}") from error
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            text = answer.body[:100].decode(errors="replace").strip()
            raise QueryError(f"{self.login.url}: answers {answer.status} {text!r}; is it a Prometheus?")
        if answer.status != 200 or document.get("status") != "success":
            kind, text = document.get("errorType", answer.status), document.get("error", "")
            raise QueryError(f"{self.login.url}: {kind}: {text}")
        return dict(document.get("data") or {})


def _series(data: dict[str, Any], at_s: float) -> list[list[Sample]]:
    kind, result = data.get("resultType"), data.get("result") or []
    if kind == "scalar":
        return [[Sample({}, float(result[0]), _value(result[1]))]]
    if kind == "string":
        return []
    found = []
    for entry in result:
        labels = {key: value for key, value in (entry.get("metric") or {}).items() if key != "__name__"}
        pairs = entry.get("values") or ([entry["value"]] if entry.get("value") else [])
        found.append([Sample(labels, float(pair[0] or at_s), _value(pair[1])) for pair in pairs])
    return found


def _value(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else 0.0
