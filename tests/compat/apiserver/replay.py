"""Replays recorded requests against a server of ours over TLS, and compares answers with the recorded ones.

Ids, times and revisions differ by nature. Where a later request names one that an earlier answer gave, ours takes its
place; in comparisons they are blanked out.
"""

import json
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.authentication import CREDENTIAL_ID, Authenticator, User
from kubedyno.cluster.apiserver.server import LIMITS, ApiServer
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.http import tls
from kubedyno.http.client import Endpoint, Pool
from kubedyno.http.exchange import StreamExchange
from kubedyno.http.server import serve
from kubedyno.kube import protobuf, yaml
from kubedyno.kube.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, by_kind

DATA = Path(__file__).parent / "data"
TOKEN = "t0ken"
AGENT = "fixture-recorder/1.0 (linux/amd64)"
# As the recorded client's certificate said.
CREDENTIAL = "X509SHA256=b2e2470440b553da030632a585dc8e705a5a6f2284cec86f5252a9b0a6239c1f"
ADMIN = User(
    "kubernetes-admin", ("system:masters", "system:authenticated"), extra=((CREDENTIAL_ID, (CREDENTIAL,)),)
)  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_BLANKS = (
    (_UUID, "UID"),
    (_TIME, "TIME"),
    (re.compile(r"kube-api-access-\w{5}"), "kube-api-access-X"),
    (re.compile(r'"gen-\w{5}"'), '"gen-X"'),
    (re.compile(r'"resourceVersion": ?"\d+"'), '"resourceVersion":"R"'),
    (re.compile(r"resourceVersion\W+\d+"), "resourceVersion R"),
    (re.compile(r'"continue": ?"[\w-]+"'), '"continue":"C"'),
    (re.compile(r"(current: |version: )\d+( \(\d+\))?"), r"\1R"),
    (re.compile(r"(precondition \(|record \()[\w-]+\)"), r"\1R)"),
    (re.compile(r'"(nodePort|healthCheckNodePort)": ?\d+'), r'"\1":30000'),
    (re.compile(r'"10\.\d+\.\d+\.\d+"'), '"10.0.0.1"'),
    (re.compile(r'"cells": ?(\[[^\]]*?)"\d+[smh]\w*"'), r'"cells":\1"AGE"'),
    # --etcd-prefix, and where it keeps the kind.
    (re.compile(r"Key: /(registry/)?"), "Key: /"),
    (re.compile(r"microshift/deps/github.com/openshift/kubernetes/"), ""),
)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


def blanked(value: Any) -> Any:
    """Return a JSON value without what differs by nature."""
    text = json.dumps(_without_shown(value), sort_keys=True)
    for pattern, text_for in _BLANKS:
        text = pattern.sub(text_for, text)
    return json.loads(text)


# The real server shows what a patch made in another order of members, or as Go prints it.
_SHOWN = re.compile(r'Invalid value: "(\{.*\}|map\[.*\])": ')


def _without_shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_shown(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_shown(item) for item in value]
    if not isinstance(value, str):
        return value
    return _claims(value) if _TOKEN.fullmatch(value) else _SHOWN.sub("Invalid value: OBJECT: ", value)


# Signed by a key of its own, by another algorithm: what it says is what counts.
_TOKEN = re.compile(r"eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]+")


def _claims(token: str) -> dict[str, Any]:
    """Return what a token says, its times as seconds since it was given."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    given_s = claims["iat"]
    return {**claims, **{name: claims[name] - given_s for name in ("exp", "iat", "nbf")}}


@dataclass
class Result:
    """What our server answered."""

    status: int
    headers: dict[str, str]
    body: Any
    wanted: dict[str, Any]

    def differences(self) -> list[str]:
        """Say in what the answer is another than the recorded one."""
        wanted = self.wanted
        found = []
        if self.status != wanted["status"]:
            found.append(f"status {self.status}, recorded {wanted['status']}")
        recorded: dict[str, str] = {}
        for name, value in wanted["headers"]:
            recorded[name] = f"{recorded[name]}, {value}" if name in recorded else value
        for name, value in recorded.items():
            ours = self.headers.get(name, "")
            if name == "etag":
                # Of another document: that there is one is what counts.
                ours = value if ours else ""
            if ours != value:
                found.append(f"{name}: {ours!r}, recorded {value!r}")
        # Where the recording leaves managedFields out, another one is about them.
        body = self.body if wanted.get("managers") else without_managers(self.body)
        ours, theirs = blanked(body), blanked(wanted["body"])
        _cut_to_served(ours.get("json"), theirs.get("json"))
        if ours != theirs:
            found += [f"{path}: {a!r}, recorded {b!r}" for path, a, b in _unlike(ours, theirs, "")]
        return found


def _cut_to_served(ours: Any, theirs: Any) -> None:
    """Leave of recorded discovery documents what is served here: a part of it."""
    kind = ours.get("kind") if isinstance(ours, dict) and isinstance(theirs, dict) else ""
    if kind == "APIResourceList":
        names = {entry["name"] for entry in ours["resources"]}
        theirs["resources"] = [entry for entry in theirs["resources"] if entry["name"] in names]
        for entry in ours["resources"] + theirs["resources"]:
            # A hash of how etcd stores it; clients only compare it with itself.
            entry.pop("storageVersionHash", None)
    elif kind == "APIGroupDiscoveryList":
        served = {
            (group["metadata"].get("name", ""), version["version"]): {
                entry["resource"]: {sub["subresource"] for sub in entry.get("subresources", ())}
                for entry in version["resources"]
            }
            for group in ours["items"]
            for version in group["versions"]
        }
        for group in theirs["items"]:
            group["versions"] = [
                _cut_version(version, served[key])
                for version in group["versions"]
                if (key := (group["metadata"].get("name", ""), version["version"])) in served
            ]
        theirs["items"] = [group for group in theirs["items"] if group["versions"]]


def _cut_version(version: dict[str, Any], served: dict[str, set[str]]) -> dict[str, Any]:
    entries = [entry for entry in version["resources"] if entry["resource"] in served]
    for entry in entries:
        subs = [sub for sub in entry.pop("subresources", ()) if sub["subresource"] in served[entry["resource"]]]
        if subs:
            entry["subresources"] = subs
    return {**version, "resources": entries}


_ABSENT = "(absent)"


def _unlike(ours: Any, theirs: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted({*ours, *theirs}):
            found += _unlike(ours.get(key, _ABSENT), theirs.get(key, _ABSENT), f"{path}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            entry for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for entry in _unlike(a, b, f"{path}[{i}]")
        ]
    return [] if ours == theirs else [(path, ours, theirs)]


class StandingClock:
    """The wall clock stands, as what was recorded took less than a second: entries of managedFields are in order of time."""

    def __init__(self) -> None:
        self._now_s = SYSTEM_CLOCK.now()
        self.monotonic = SYSTEM_CLOCK.monotonic

    def now(self) -> float:
        return self._now_s


@dataclass
class Replay:
    """A running server, and what recorded ids and revisions are in it."""

    registry: Registry
    pool: Pool
    authority: bytes
    watchers: Callable[[], int]
    ids: dict[str, str] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    async def run(self, row: dict[str, Any]) -> Result:
        """Send a recorded request."""
        request = row["request"]
        media = dict(row["headers"]).get("content-type", "")
        body = request.get("body")
        if isinstance(body, dict) and "repeat" in body:
            body = [body["repeat"]] * body["times"]
        data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {"User-Agent": AGENT}
        if data:
            headers["Content-Type"] = "application/json"
        headers |= request.get("headers", {})
        if "user" not in request:
            headers["Authorization"] = f"Bearer {TOKEN}"
        result = await self.pool.request(
            request["method"],
            self._path(request["path"]),
            tuple((name.lower(), value) for name, value in headers.items()),
            self._ours(data.decode()).encode(),
            timeout_s=20,
        )
        answer = Result(result.status, dict(result.headers), _parsed(result.body, media), row)
        self._learn(answer.body, row["body"])
        return answer

    async def begin(self, row: dict[str, Any]) -> "Watching":
        """Open a recorded watch, to be read later."""
        headers = {"accept": "application/json", **{k.lower(): v for k, v in row["request"].get("headers", {}).items()}}
        headers["authorization"] = f"Bearer {TOKEN}"
        stream = await self.pool.open_stream(
            "GET", self._path(row["request"]["path"], timeout_s=600), tuple(headers.items())
        )
        return Watching(row, stream)

    async def namespace(self, name: str, ca: str | None = None) -> None:
        """Give a namespace what controllers would."""
        if self.registry.store.get(NAMESPACES, name) is None:
            self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
        if ca is not None:
            about = (
                "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such "
                "as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
                "distributions of Kubernetes clusters."
            )
            metadata = {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": about}}
            self.registry.create(CONFIGMAPS, name, {"metadata": metadata, "data": {"ca.crt": ca}})
        self.registry.create(SERVICEACCOUNTS, name, {"metadata": {"name": "default"}})

    def seed(self, obj: dict[str, Any]) -> None:
        """Store an object as it was recorded."""
        resource = by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
        namespace = metadata.get("namespace", "")
        self.registry.create(resource, namespace, {**obj, "metadata": metadata})
        if obj.get("status"):
            self.registry.modify(
                resource,
                namespace,
                metadata["name"],
                lambda current: {**current, "status": obj["status"]},
                subresource="status",
            )

    def _path(self, path: str, timeout_s: int = 1) -> str:
        path = re.sub(r"timeoutSeconds=\d+", f"timeoutSeconds={timeout_s}", path)
        path = re.sub(r"resourceVersion=(\d+)", lambda m: f"resourceVersion={self._revision(int(m[1]))}", path)
        for theirs, ours in self.tokens.items():
            path = path.replace(theirs, ours)
        return path.replace(" ", "%20")

    def _revision(self, theirs: int) -> int:
        if theirs < 100 or theirs > 1_000_000:
            return theirs
        known = [revision for revision in self.revisions if revision <= theirs]
        return self.revisions[max(known)] if known else theirs

    def _ours(self, text: str) -> str:
        for theirs, ours in self.ids.items():
            text = text.replace(theirs, ours)
        # Ours was made at another time, and nobody may change that.
        text = re.sub(r'"creationTimestamp": "[^"]*", ', "", text)
        return re.sub(
            r'"resourceVersion": "(\d+)"', lambda m: f'"resourceVersion": "{self._revision(int(m[1]))}"', text
        )

    def _learn(self, ours: Any, theirs: Any) -> None:
        if isinstance(ours, list) and isinstance(theirs, list):
            for a, b in zip(ours, theirs, strict=False):
                self._learn(a, b)
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            for key in ours.keys() & theirs.keys():
                a, b = ours[key], theirs[key]
                if key == "uid" and isinstance(b, str):
                    self.ids[b] = a
                elif key == "resourceVersion" and isinstance(b, str) and b.isdigit():
                    self.revisions[int(b)] = int(a)
                elif key == "continue":
                    self.tokens[b] = a
                else:
                    self._learn(a, b)


@dataclass
class Watching:
    """A watch under way."""

    row: dict[str, Any]
    stream: StreamExchange

    async def end(self) -> Result:
        """Read as many events as were recorded, without those of what is made otherwise here."""
        media = dict(self.row["headers"])["content-type"]
        wanted = [event for event in self.row["body"]["events"] if _name_of(event) != "ssa"]
        raw, events = b"", []
        try:
            async with aio.timeout(5):
                async for piece in self.stream:
                    raw += piece
                    events = [event for event in _events(raw, media) if _name_of(event) != "ssa"]
                    if len(events) >= len(wanted):
                        break
        except TimeoutError:
            # Too few: the comparison says so.
            pass
        result = Result(self.stream.status, dict(self.stream.headers), {"events": events}, self.row)
        self.stream.close()
        return Result(result.status, result.headers, result.body, {**self.row, "body": {"events": wanted}})


def _name_of(event: dict[str, Any]) -> str:
    shown = event["object"]
    return str((shown["rows"][0]["object"] if "rows" in shown else shown)["metadata"].get("name", ""))


def _events(raw: bytes, media: str) -> list[dict[str, Any]]:
    if "stream=watch" in media:
        return _frames(raw)
    return [json.loads(line) for line in raw.splitlines()]


def _parsed(body: bytes, media: str) -> dict[str, Any]:
    """Return a body as the recording has it."""
    if "stream=watch" in media:
        return {"events": _frames(body)}
    if "protobuf" in media:
        return {"protobuf": protobuf.decode(body)} if body[:4] == protobuf.MAGIC else {"text": ""}
    text = body.decode()
    try:
        value = json.loads(text)
    except ValueError:
        pass
    else:
        return {"json": value, "pretty": True} if text.startswith("{\n") else {"json": value}
    if media == "application/yaml":
        return {"json": without_managers(yaml.load(text))}
    try:
        return {"events": [json.loads(line) for line in text.splitlines()]}
    except ValueError:
        return {"text": text}


def without_managers(value: Any) -> Any:
    """Return a value without managedFields."""
    if isinstance(value, dict):
        return {key: without_managers(member) for key, member in value.items() if key != "managedFields"}
    return [without_managers(item) for item in value] if isinstance(value, list) else value


def _frames(raw: bytes) -> list[dict[str, Any]]:
    """Return the events of a protobuf watch: each behind its length, type in field 1, object in field 2."""
    events = []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        frame, raw = raw[4 : 4 + size], raw[4 + size :]
        kind = frame[2 : 2 + frame[1]].decode()
        events.append({"type": kind, "object": protobuf.decode(frame[frame.index(protobuf.MAGIC) :])})
    return without_managers(events)


def recorded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded row with its body decoded."""
    body, media = row["body"], dict(row["headers"]).get("content-type", "")
    if "base64" in body:
        decoded = _parsed(b64decode(body["base64"]), media)
        return {**row, "body": without_managers(decoded)}
    if media == "application/yaml":
        return {**row, "body": _parsed(body["text"].encode(), media)}
    return row


@asynccontextmanager
async def replaying(
    clock: Clock | None = None, settings: ClusterSettings | None = None, address: str = "127.0.0.1:6443"
) -> AsyncIterator[Replay]:
    """Run a server of ours for the time of a replay; its wall clock stands unless another one is given."""
    clock = clock or StandingClock()
    store = Store(clock)
    settings = settings or ClusterSettings()
    registry = Registry(store, clock, Random(1), settings)
    api = ApiServer(
        registry,
        Pump(clock),
        settings,
        Authenticator({TOKEN: ADMIN}),
        address=address,
        control=lambda _request, _responder, _user: False,
    )
    api.paths.health.ready = True
    authority = tls.Authority()
    context = tls.server_context(authority.server(("127.0.0.1",)), authority.certificate)
    server = await serve(api.app, "127.0.0.1", 0, context, LIMITS)
    authority_of = f"127.0.0.1:{server.port}"
    pool = Pool(Endpoint("127.0.0.1", server.port, authority_of, tls.client_context(authority.certificate)))
    try:
        yield Replay(registry, pool, authority.certificate, lambda: api.watchers)
    finally:
        api.close()
        await pool.close()
        await server.close()
