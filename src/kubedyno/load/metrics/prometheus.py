"""Client of a Prometheus: instant and range queries, with a bearer token or a password.

Whatever it is that does not answer as a Prometheus does becomes one line that says what to do; no line has a secret. An
answer is decoded series by series into 16 bytes a value: a day of a large cluster is millions of them.
"""

import asyncio
import base64
import math
import ssl
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import excerpt
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import AnswerTooLarge, Result
from kubedyno.http.messages import Headers
from kubedyno.http.tls import client_context

# Queries under way at once.
CONCURRENCY = 8
_TIMEOUT_S = 300.0
_CONNECT_S = 15.0
_MAX_ANSWER_BYTES = 1 << 30


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
    status: Literal["success", "error"]
    data: _Data | None = None
    errorType: str | None = None
    error: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_point = msgspec.json.Decoder(_Point).decode


@dataclass(frozen=True, slots=True)
class Login:
    """Where, and as whom. A token wins over a password, and either over those within the URL.

    Attributes:
        ca: PEM of whom to trust with https; None: the system's authorities. Nobody is asked when `skip_tls_verify`.
        timeout_s: How long a query may take.
    """

    url: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    skip_tls_verify: bool = True
    step_s: float = 30.0
    ca: bytes | None = None
    timeout_s: float = _TIMEOUT_S


class Prometheus:
    """One server; used as an async context manager.

    Attributes:
        url: As it may be shown: without a password.

    Raises:
        KubedynoError: The URL, a secret or the authority's certificate is wrong.
    """

    def __init__(self, login: Login) -> None:
        parts = urlsplit(login.url)
        host = parts.netloc.rpartition("@")[2]
        self.url = login.url if host == parts.netloc else parts._replace(netloc=host).geturl()
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise KubedynoError(f"{self.url}: is no URL of a Prometheus; write for example http://127.0.0.1:9090")
        self.login = login
        secure = parts.scheme == "https"
        self._endpoint = Endpoint(
            parts.hostname, port or (443 if secure else 80), host, self._tls() if secure else None
        )
        self._base = parts.path.rstrip("/")
        self._headers: Headers = (
            ("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"),
            *_authorization(self.url, login, parts),
        )  # fmt: skip
        self._pool: Pool | None = None
        self._turns = asyncio.Semaphore(CONCURRENCY)

    def _tls(self) -> ssl.SSLContext:
        ca = self.login.ca
        try:
            # Without text the system's authorities would be trusted.
            if ca is not None and not ca.strip():
                raise ValueError("empty")
            return client_context(ca, None, verify=not self.login.skip_tls_verify)
        except (ssl.SSLError, ValueError) as error:
            raise KubedynoError(f"{self.url}: the authority's file has no PEM certificates in it") from error

    async def __aenter__(self) -> Self:
        self._pool = Pool(
            self._endpoint,
            PoolLimits(max_body=_MAX_ANSWER_BYTES, connect_timeout_s=_CONNECT_S, timeout_s=self.login.timeout_s),
        )
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

    async def reply(self, what: str, values: dict[str, str]) -> tuple[int, bytes]:
        """Return status and JSON of a query's answer, which may be an error that the server tells of.

        Raises:
            QueryError: There is no answer, or none of a Prometheus.
        """
        answer = await self._post(what, values)
        try:
            document = _decode_answer(answer.body)
            if document.status == "success":
                if document.data is None or not document.data.resultType:
                    raise self._no_prometheus(answer)
                _series(document.data)
        except (msgspec.DecodeError, ValueError) as error:
            raise self._no_prometheus(answer) from error
        return answer.status, answer.body

    async def _ask(self, what: str, values: dict[str, str]) -> list[Series]:
        answer = await self._post(what, values)
        try:
            document = _decode_answer(answer.body)
            if answer.status != 200 or document.status != "success":
                raise QueryError(f"{self.url}: {document.errorType or answer.status}: {document.error}")
            return _series(document.data or _Data())
        except (msgspec.DecodeError, ValueError) as error:
            raise self._no_prometheus(answer) from error

    async def _post(self, what: str, values: dict[str, str]) -> Result:
        assert self._pool is not None, "the client has not been entered"
        async with self._turns:
            try:
                return await self._pool.request(
                    "POST", f"{self._base}/api/v1/{what}", self._headers, urlencode(values).encode()
                )
            except OSError as error:
                raise QueryError(f"{self.url}: {self._reason(error)}") from error

    def _no_prometheus(self, answer: Result) -> QueryError:
        status, said = answer.status, excerpt(answer.body)
        if status in {401, 403}:
            known = any(name == "Authorization" for name, _ in self._headers)
            what = (
                "it does not take these credentials" if known else "it wants credentials: a token, or user and password"
            )
            return QueryError(f"{self.url}: answers {status}: {what}{f' ({said})' if said else ''}")
        if 300 <= status < 400 and (place := answer.headers.get("location", "")):
            return QueryError(f"{self.url}: answers {status} and sends to {excerpt(place.encode())}; is the URL right?")
        text = f": {said}" if said else " with nothing in it"
        return QueryError(f"{self.url}: answers {status}, which is not what a Prometheus says{text}; is the URL right?")

    def _reason(self, error: OSError) -> str:
        """Return why there was no answer, and what to do."""
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message or error.reason
            return f"its certificate is not trusted ({reason}); name the authority's file, or skip the verification"
        if isinstance(error, ssl.SSLError):
            return f"TLS fails ({error.reason or error}); is it https at this port?"
        if isinstance(error, AnswerTooLarge):
            return f"the answer has more than {_MAX_ANSWER_BYTES} bytes; ask for less"
        if isinstance(error, TimeoutError):
            return f"no answer within {self.login.timeout_s:g} s; ask for less, or allow more time"
        return f"{error.strerror or error}; is a Prometheus there?"


def _authorization(url: str, login: Login, parts: SplitResult) -> Headers:
    username, password = login.username, login.password
    if not username and parts.username:
        username, password = unquote(parts.username), unquote(parts.password or "")
    if login.token:
        if not (login.token.isascii() and login.token.isprintable()):
            raise KubedynoError(f"{url}: the token has characters that no token has; is it the right one?")
        return (("Authorization", f"Bearer {login.token}"),)
    if username:
        secret = base64.b64encode(f"{username}:{password}".encode()).decode()
        return (("Authorization", f"Basic {secret}"),)
    return ()


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
