"""The audit log: one JSON line for each stage of each request that the policy wants written down.

It stands before everything else that a request passes, so that refusals are in it too. Lines are written once a turn of
the loop; the file is readable by its owner alone.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339_micro
from kubedyno.cluster.apiserver.admissionrequests import user_info
from kubedyno.cluster.apiserver.auditfile import AuditFile
from kubedyno.cluster.apiserver.auditpolicy import METADATA, NONE, REQUEST, RESPONSE, AuditPolicy, Extent
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of, is_long_running
from kubedyno.http.messages import App, Exchange, Headers, Request, Responder, Stream, Tunnel
from kubedyno.http.passing import PassingStream
from kubedyno.kube import protobuf, yaml
from kubedyno.kube.protobuftypes import ProtobufError
from kubedyno.kube.status import StatusError
from kubedyno.kube.yaml import YAMLError

Object = dict[str, Any]
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_FAILURE = 400
# Who asks, and whom that one acts as, None when as nobody else.
Identify = Callable[[Request], tuple[User, User | None]]
# Whether a user may do something, and why.
Decide = Callable[[User, Attributes], tuple[bool, str]]


class AuditLog:
    """Writes down what is asked.

    Args:
        app: What comes behind; looked up for each request.
        policy: What is written.
        file: Where lines are added; closed with the log.
        identify: Says who asks.
        decide: Says why a request was allowed.
        now: Epoch seconds.
    """

    def __init__(
        self, app: Callable[[], App], policy: AuditPolicy, file: AuditFile, identify: Identify, decide: Decide,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._app = app
        self._policy = policy
        self._file = file
        self._identify = identify
        self._decide = decide
        self._now = now
        self._lines: list[bytes] = []
        self._broken = False
        self._events: dict[int, Event] = {}

    def annotations_of(self, request: Request) -> dict[str, str]:
        """Return the annotations of a request's event, to be added to."""
        event = self._events.get(id(request))
        return event.annotations if event is not None else {}

    def app(self, request: Request, responder: Responder) -> None:
        """Answer a request, and write it down."""
        try:
            user, acted = self._identify(request)
        except StatusError:
            user, acted = User(""), None
        asked = attributes_of(request)
        extent = self._policy.extent(acted or user, asked)
        if extent.level == NONE:
            self._app()(request, responder)
            return
        event = Event(self, request, responder, extent, user, acted, asked, self._now())
        self._events[id(request)] = event
        event.tell("RequestReceived")
        self._app()(request, event)

    def decision(self, user: User, asked: Attributes) -> tuple[bool, str]:
        """Say whether a user may do something, and why."""
        return self._decide(user, asked)

    def now(self) -> float:
        """Return epoch seconds."""
        return self._now()

    def done(self, request: Request) -> None:
        """Forget a request."""
        self._events.pop(id(request), None)

    def write(self, document: Object) -> None:
        """Add a line, with the rest of this turn of the loop."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(orjson.dumps(document))

    def _flush(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            self._file.write(lines)
            self._broken = False
        except OSError as error:
            if not self._broken:
                self._broken = True
                logger(__name__).error(
                    "audit log %s: %s: requests are not written down", self._file.path, error.strerror
                )

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._file.close()


class Event:
    """One request and its answer, as its responder.

    Attributes:
        annotations: Of the event.
    """

    def __init__(
        self, log: AuditLog, request: Request, inner: Responder, extent: Extent, user: User, acted: User | None,
        asked: Attributes, received_s: float,
    ) -> None:  # fmt: skip
        self._log = log
        self._request = request
        self._inner = inner
        self._extent = extent
        self._asked = asked
        self._long = asked.verb == "watch" or is_long_running(asked)
        self._user = acted or user
        self._over = False
        self.annotations: dict[str, str] = {}
        self.on_close: Callable[[], None] | None = None
        inner.on_close = self._gone
        uri = request.path + (f"?{request.query}" if request.query else "")
        self._document: Object = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": extent.level,
            "auditID": inner.answer_id if isinstance(inner, Exchange) else "",
            "stage": "",
            "requestURI": uri,
            "verb": asked.verb,
            "user": user_info(user) if user.name else {},
        }
        if acted is not None:
            self._document["impersonatedUser"] = user_info(acted)
        self._document["sourceIPs"] = [request.peer.address.rpartition(":")[0].strip("[]")]
        if request.headers.get("user-agent"):
            self._document["userAgent"] = request.headers["user-agent"]
        if asked.resource:
            self._document["objectRef"] = self._reference()
        self._received = rfc3339_micro(received_s)

    # --- the event -----------------------------------------------------------------------------------------------

    def _reference(self) -> Object:
        asked, path = self._asked, self._request.path.split("/")
        reference: Object = {"resource": asked.resource}
        for name, value in (("namespace", asked.namespace), ("name", asked.name), ("apiGroup", asked.group)):
            if value:
                reference[name] = value
        reference["apiVersion"] = path[3] if path[1] == "apis" else path[2]
        if asked.subresource:
            reference["subresource"] = asked.subresource
        body = self._body() if asked.verb in {"create", "update"} else None
        metadata = body.get("metadata") if isinstance(body, dict) else None
        if isinstance(metadata, dict):
            for name in ("name", "uid", "resourceVersion"):
                if isinstance(metadata.get(name), str) and metadata[name]:
                    reference.setdefault(name, metadata[name])
        return reference

    def _body(self) -> Any:
        return _parsed(self._request.body, self._request.headers.get("content-type", ""))

    def tell(self, stage: str, status: Object | None = None, answer: Any = None) -> None:
        """Write a stage down, unless the policy omits it."""
        if stage in self._extent.omitted:
            return
        document = {**self._document, "stage": stage}
        if status is not None:
            document["responseStatus"] = status
        if stage != "RequestReceived" and self._extent.level in {REQUEST, RESPONSE} and self._asked.verb in _WRITES:
            body = self._body()
            if body is not None:
                document["requestObject"] = self._trimmed(body)
        if answer is not None:
            document["responseObject"] = self._trimmed(answer)
        document["requestReceivedTimestamp"] = self._received
        document["stageTimestamp"] = rfc3339_micro(self._log.now())
        if stage != "RequestReceived":
            annotations = {**self._decision(), **self.annotations}
            if annotations:
                document["annotations"] = annotations
        self._log.write(document)

    def _decision(self) -> dict[str, str]:
        if not self._user.name:
            return {}
        allowed, reason = self._log.decision(self._user, self._asked)
        return {
            "authorization.k8s.io/decision": "allow" if allowed else "forbid",
            "authorization.k8s.io/reason": "" if self._user.superuser else reason,
        }

    def _trimmed(self, obj: Any) -> Any:
        if not self._extent.without_managed_fields or not isinstance(obj, dict):
            return obj
        obj = {**obj}
        if isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
        if isinstance(obj.get("items"), list):
            obj["items"] = [self._trimmed(item) for item in obj["items"]]
        return obj

    def complete(self, status: int, media: str = "", body: bytes = b"") -> None:
        """Write down that the answer is complete."""
        if self._over:
            return
        self._over = True
        self._log.done(self._request)
        told: Object = {"metadata": {}, "code": status}
        answer = None
        if self._extent.level != METADATA or status >= _FAILURE:
            parsed = _parsed(body, media)
            if status >= _FAILURE and isinstance(parsed, dict) and parsed.get("kind") == "Status":
                told = {name: value for name, value in parsed.items() if name not in {"kind", "apiVersion"}}
            if self._extent.level == RESPONSE:
                answer = parsed
        self.tell("ResponseComplete", told, answer)

    # --- the responder -------------------------------------------------------------------------------------------

    def _gone(self) -> None:
        """The client went before it was answered."""
        self.complete(0)
        if self.on_close is not None:
            self.on_close()

    @property
    def closed(self) -> bool:
        return self._inner.closed

    @property
    def answer_id(self) -> str:
        return str(self._document["auditID"])

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """See `Responder`."""
        media = content_type if isinstance(content_type, str) else content_type.decode("latin-1")
        self.complete(status, media, body)
        self._inner.send(status, content_type, body, headers)

    def expire(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        """See `Exchange`."""
        media = content_type if isinstance(content_type, str) else content_type.decode("latin-1")
        self.complete(status, media, body)
        if isinstance(self._inner, Exchange):
            self._inner.expire(status, content_type, body, headers)

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> Stream:
        """See `Responder`."""
        stream = self._inner.start(status, content_type, headers)
        if self._long:
            self.tell("ResponseStarted", {"metadata": {}, "code": status})
        return EndingStream(stream, lambda: self.complete(status))

    def upgrade(self, headers: Headers) -> Tunnel | None:
        """See `Responder`."""
        tunnel = self._inner.upgrade(headers)
        if tunnel is None:
            return None
        self.tell("ResponseStarted", {"metadata": {}, "code": 101})
        return EndingTunnel(tunnel, lambda: self.complete(101))


class EndingStream(PassingStream):
    """A stream that says when it is over."""

    def __init__(self, inner: Stream, over: Callable[[], None]) -> None:
        super().__init__(inner)
        self._over = over
        self.on_close: Callable[[], None] | None = None
        inner.on_close = self._closed

    def _closed(self) -> None:
        self._over()
        if self.on_close is not None:
            self.on_close()

    def close(self) -> None:
        self._over()
        self._inner.close()

    def abort(self) -> None:
        self._over()
        self._inner.abort()


class EndingTunnel(EndingStream):
    """The same of a switched connection."""

    def __init__(self, inner: Tunnel, over: Callable[[], None]) -> None:
        super().__init__(inner, over)
        self._tunnel = inner

    @property
    def on_data(self) -> Callable[[bytes], None] | None:
        return self._tunnel.on_data

    @on_data.setter
    def on_data(self, call: Callable[[bytes], None] | None) -> None:
        self._tunnel.on_data = call

    def pause_input(self) -> None:
        self._tunnel.pause_input()

    def resume_input(self) -> None:
        self._tunnel.resume_input()


def _parsed(body: bytes, media: str) -> Any:
    """Return a body as JSON knows it, None when it is no object."""
    if not body:
        return None
    try:
        if "protobuf" in media:
            return protobuf.decode(body, "", "")
        if "yaml" in media:
            return orjson.loads(orjson.dumps(yaml.load(body.decode())))
        return orjson.loads(body)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, ProtobufError, YAMLError, UnicodeDecodeError):
        return None
