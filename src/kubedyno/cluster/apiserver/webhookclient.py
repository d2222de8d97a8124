"""Calls of webhooks: only to loopback, and to pods that this cluster runs as processes.

An object may name any URL or Service. A server that dialled what it is told to would be a door into whatever network it
stands in, so another address is refused, as a call that failed: the webhook's own failurePolicy says what that means.
"""

import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import orjson

from kubedyno.base import aio
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import RequestTimeout
from kubedyno.http.tls import client_context
from kubedyno.kube.gojson import fault
from kubedyno.kube.status import ServiceUnavailable, StatusError

Object = dict[str, Any]
# Dials a Service's pod: namespace, name, port.
Door = Callable[[str, str, int], Callable[[], Awaitable[socket]]]
_MAX_ANSWER_BYTES = 3 << 20
_LIMITS = PoolLimits(
    max_connections=1, max_http1=16, max_queue=1000, max_body=_MAX_ANSWER_BYTES, connect_timeout_s=10.0
)
# Servers that connections are kept to; closed all at once beyond that.
_MAX_POOLS = 64
_HTTPS_PORT = 443
_ERRORS_SHOWN = 200
_SERVICES = re.compile(r"^services (?=\")")
_GO_KINDS = {str: "string", int: "number", float: "number", bool: "bool"}
# What Go reads the kind of a document with.
_TYPE_META = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)


class CallError(Exception):
    """A webhook gave no answer: the text says why, as the real server has it.

    Args:
        text: Why.
        code: The status that it answered, where that was the reason.
    """

    def __init__(self, text: str, code: int = ServiceUnavailable.code) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is.

    Attributes:
        url: As errors name it, with the query.
        authority: Host and port.
        dial: Gives a connection to a Service's pod; None: `host` is on loopback.
    """

    url: str
    host: str
    port: int
    authority: str
    target: str
    server_name: str
    dial: Callable[[], Awaitable[socket]] | None = None


class WebhookClient:
    """Calls webhooks and keeps connections to them.

    Args:
        door: Dials what Services stand for; None: nothing can be dialled so.
    """

    def __init__(self, door: Door | None) -> None:
        self._door = door
        self._pools: dict[tuple[Any, ...], Pool] = {}
        self._closing = aio.Tasks("the end of a webhook's connections")

    async def post(self, client: Object, body: Object, timeout_s: float, query: str = "") -> Any:
        """Return the JSON that a webhook answers.

        Args:
            client: A WebhookClientConfig.
            body: The review.
            timeout_s: To the complete answer.
            query: Of the URL.

        Raises:
            CallError: It gives none.
        """
        place: Place | None = None
        try:
            place = self._place(client, query)
            pool = self._pool(client, place)
            result = await pool.request(
                "POST",
                place.target,
                (("content-type", "application/json"), ("accept", "application/json, */*"),
                 ("user-agent", "kube-apiserver-admission")),
                orjson.dumps(body),
                timeout_s,
            )  # fmt: skip
        except RequestTimeout:
            raise CallError(self._told(client, place, query, "context deadline exceeded")) from None
        except OSError as error:
            raise CallError(self._told(client, place, query, _why(error, place))) from None
        except StatusError as error:
            raise CallError(self._told(client, place, query, _SERVICES.sub("service ", error.message))) from None
        media = dict(result.headers).get("content-type", "")
        if not 200 <= result.status < 300:
            raise CallError(_status_text(result.status, result.body, media), result.status)
        if not result.body:
            raise CallError(f"0-length response with status code: {result.status} and content type: {media}")
        try:
            document = orjson.loads(result.body)
        except orjson.JSONDecodeError:
            raise CallError(f"couldn't get version/kind; json parse error: {fault(result.body)}") from None
        if not isinstance(document, dict):
            raise CallError(no_object(document))
        return document

    def close(self) -> None:
        """Let all connections end."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            self._closing.spawn(pool.close())

    def _told(self, client: Object, place: Place | None, query: str, why: str) -> str:
        url = place.url if place is not None else _url(client, query)
        return f'Post "{url}": {why}'

    def _place(self, client: Object, query: str) -> Place:
        """Return where a webhook is.

        Raises:
            OSError: It may not be dialled.
            StatusError: A Service is not there, or nothing behind it.
        """
        url = _url(client, query)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _HTTPS_PORT
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        service = client.get("service")
        if service is not None:
            if self._door is None:
                raise ConnectionRefusedError(f"kubedyno runs no pods that could answer for service {host}")
            dial = self._door(service["namespace"], service["name"], port)
            return Place(url, host, port, parts.netloc, target, host, dial)
        if not _is_loopback(host):
            raise PermissionError(
                f"kubedyno calls webhooks on loopback and in its own pods only, and {host} is neither"
            )
        return Place(url, "127.0.0.1" if host == "localhost" else host, port, parts.netloc, target, host)

    def _pool(self, client: Object, place: Place) -> Pool:
        bundle = client.get("caBundle") or ""
        digest = blake2b(bundle.encode(), digest_size=16).digest()
        key = (place.authority, digest)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= _MAX_POOLS:
                self.close()
            try:
                context = client_context(base64.b64decode(bundle) if bundle else None)
            except (ssl.SSLError, binascii.Error, UnicodeDecodeError, ValueError):
                raise OSError("unable to load root certificates: unable to parse bytes as PEM block") from None
            endpoint = Endpoint(place.host, place.port, place.authority, context, place.server_name, place.dial)
            pool = self._pools[key] = Pool(endpoint, _LIMITS)
        return pool


def no_object(document: Any) -> str:
    """Return Go's words for a JSON value where an object is looked for."""
    what = "array" if isinstance(document, list) else _GO_KINDS.get(type(document), "null")
    return f"couldn't get version/kind; json parse error: json: cannot unmarshal {what} into {_TYPE_META}"


def _url(client: Object, query: str) -> str:
    """Return the whole URL of a webhook."""
    service = client.get("service")
    if service is None:
        url = str(client.get("url") or "")
    else:
        path = service.get("path") or "/"
        host = f"{service.get('name', '')}.{service.get('namespace', '')}.svc"
        url = f"https://{host}:{service.get('port') or _HTTPS_PORT}{path}"
    return f"{url}?{query}" if query else url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: OSError, place: Place | None) -> str:
    """Return Go's words for a connection that failed."""
    address = f"{place.host}:{place.port}" if place is not None else ""
    if isinstance(error, PermissionError) or place is None:
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = str(error.verify_message or error.reason)
        unknown = "local issuer" in why or "self-signed" in why
        why = "certificate signed by unknown authority" if unknown else why
        return f"tls: failed to verify certificate: x509: {why}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    return str(error) or "EOF"


def _status_text(status: int, body: bytes, media: str) -> str:
    """Return Go's words for an answer that is no success."""
    if status < 400:
        return f"the server responded with the status code {status} but did not return more information"
    if status == 404:
        return "the server could not find the requested resource"
    if status == 503:
        return "the server is currently unable to handle the request"
    shown = body[:_ERRORS_SHOWN].decode(errors="replace").strip() if media.startswith("text/") else "unknown"
    if status >= 500:
        return f'an error on the server ("{shown}") has prevented the request from succeeding'
    if status == 401:
        return "the server has asked for the client to provide credentials"
    return f"the server rejected our request for an unknown reason: {status} {shown}"
