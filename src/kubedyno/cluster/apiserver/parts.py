"""Subresources with a shape of their own: scale, binding, eviction, log."""

from collections.abc import Callable

from kubedyno.base.aio import Spawn
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.apiserver import realpods
from kubedyno.cluster.apiserver.admission import RequestGate
from kubedyno.cluster.apiserver.admissionrequests import CREATE, UPDATE
from kubedyno.cluster.apiserver.bodies import decode, media_of
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import metadata_of, value_bytes
from kubedyno.cluster.apiserver.execscript import Script
from kubedyno.cluster.apiserver.negotiation import LOG_MEDIA, MEDIA, TABLE, Form, form_of
from kubedyno.cluster.apiserver.patches import APPLY, applied_object, change_of
from kubedyno.cluster.apiserver.podlogs import Log, cancel_on_close, container_of, follow, log_of
from kubedyno.cluster.apiserver.queries import manager_name, parameters, patch_options, write_options
from kubedyno.cluster.apiserver.reads import Reads
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.apiserver.writes import success
from kubedyno.cluster.registry.agreement import check_name, check_scope, check_uid
from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.customresources import AGE_TEXT, NAME_TEXT, CustomResource
from kubedyno.cluster.registry.eviction import evict
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.scaleowners import SCALE, ScaleOwners
from kubedyno.cluster.registry.structure import DecodeError, invalid_patch
from kubedyno.cluster.registry.structure import decode as decode_object
from kubedyno.cluster.runtime import Runtime, RuntimeRefusedError
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.http.messages import Stream
from kubedyno.kube.resources import PODS, Resource, built_in
from kubedyno.kube.status import BadRequest, NotFound, conflict, invalid, invalid_value, not_found
from kubedyno.kube.strconv import parse_int

# Of a log that is followed, written and not read yet.
_BUFFER_BYTES = 256 << 10
_SCALE_COLUMNS = (
    ("Name", "string", "", NAME_TEXT),
    ("Desired", "integer", "", "replicas is the desired number of instances for the scaled object."),
    ("Available", "integer", "", "replicas is the actual number of observed instances of the scaled object."),
    ("Age", "string", "", AGE_TEXT),
)
_CUSTOM_SCALE_COLUMNS = (
    ("Name", "string", "name", NAME_TEXT),
    ("Desired", "integer", "", "Number of desired replicas"),
    ("Available", "integer", "", "Number of actual replicas"),
    ("Age", "date", "", AGE_TEXT),
)
_BINDING = built_in("", "bindings")
_EVICTION = Resource("policy", "v1", "evictions", "Eviction", namespaced=True)


class Parts:
    """Answers requests for parts of objects.

    Args:
        registry: Does it.
        reads: Finds objects.
        spawn: Runs what outlives the call.
        script_of: What a simulated pod's containers say.
    """

    def __init__(
        self,
        registry: Registry,
        reads: Reads,
        spawn: Spawn,
        script_of: Callable[[Object], Script],
        runtime: Runtime | None = None,
        gate_of: Callable[[Call], RequestGate | None] = lambda _: None,
    ) -> None:
        self._runtime = runtime
        self._gate_of = gate_of
        self._spawn = spawn
        self._script_of = script_of
        self._registry = registry
        self._store = registry.store
        self._reads = reads

    # --- scale -----------------------------------------------------------------------------------------------

    def get_scale(self, call: Call) -> None:
        """Answer GET scale."""
        form = _scale_form(call, parameters(call.request.query).get("pretty"))
        self._answer_scale(call, self._reads.record(call), form)

    def _answer_scale(self, call: Call, record: ObjectRecord, form: Form) -> None:
        scale = self._scale(call, record)
        if form.shape is TABLE:
            columns = _CUSTOM_SCALE_COLUMNS if isinstance(call.route.kind, CustomResource) else _SCALE_COLUMNS
            shown = _scale_table(scale, form, self._registry.clock.now(), columns)
        else:
            untyped = isinstance(call.route.kind, CustomResource)
            shown = metadata_of(scale, form, "v1.Scale" if untyped else "autoscaling.Scale")
        call.answer(200, form.media, value_bytes(shown, form))

    def put_scale(self, call: Call) -> None:
        """Answer PUT scale."""
        request, name = call.request, call.route.name
        validation = write_options(request.query, "UpdateOptions").field_validation
        body = decode(request.headers, request.body, "autoscaling/v1", "Scale")
        scale = decode_object(SCALE, body, validation, call.warnings)
        check_name(name, scale["metadata"])
        check_scope(SCALE, call.route.namespace, scale["metadata"])
        self._rescale(call, lambda _: scale)

    def patch_scale(self, call: Call) -> None:
        """Answer PATCH scale."""
        request = call.request
        applies = media_of(request.headers) == APPLY
        options = patch_options(request.query, apply=applies)
        if not applies:
            self._rescale(call, change_of(request.headers, request.body, "autoscaling/v1", "Scale"))
            return
        patch = applied_object(request.body, options.field_validation, call.warnings)
        record = self._reads.record(call)
        now = rfc3339(self._registry.clock.now())
        scale, managed = self._owners(call, record).applied(
            self._scale(call, record), patch, options.field_manager, now, force=options.force
        )
        check_name(call.route.name, scale["metadata"])
        self._rescale(call, lambda _: scale, managed)

    def _owners(self, call: Call, record: ObjectRecord) -> ScaleOwners:
        kind = call.route.kind
        return ScaleOwners(
            self._store.managed_of(kind.resource, record.obj), kind.scale_path(), kind.resource.api_version
        )

    def _rescale(self, call: Call, change: Callable[[Object], Object], applied: bytes | None = None) -> None:
        """Answer with the scale after a change; `applied` is what the object's managers own after an apply."""
        request, route = call.request, call.route
        resource = route.kind.resource
        options = write_options(request.query, "UpdateOptions")
        form = _scale_form(call, options.pretty)
        record = self._reads.record(call)
        before = self._scale(call, record)
        changed = change(before)
        try:
            wanted = decode_object(SCALE, changed)
        except DecodeError as error:
            if call.request.method != "PATCH":
                raise
            raise invalid_patch(changed, error.why) from None
        check_uid(resource, record, wanted["metadata"])
        version = wanted["metadata"].get("resourceVersion", "")
        if version not in {"", str(record.revision)}:
            raise conflict(resource, route.name)
        replicas = wanted.get("spec", {}).get("replicas", 0)
        # A custom resource says by its own paths what is wrong.
        if replicas < 0 and not isinstance(route.kind, CustomResource):
            cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid(SCALE, route.name, [cause])
        gate = self._gate_of(call)
        if gate is not None:
            shown = {"kind": "Scale", "apiVersion": "autoscaling/v1", **wanted}
            wanted = gate.pass_part(UPDATE, ("autoscaling", "v1", "Scale"), shown, before)
            replicas = wanted.get("spec", {}).get("replicas", 0)
        managed = applied
        if managed is None:
            manager = manager_name(options.field_manager, request.headers.get("user-agent", ""))
            now = rfc3339(self._registry.clock.now())
            managed = self._owners(call, record).updated(
                before, {**before, "spec": wanted.get("spec", {})}, manager, now
            )
        new = self._registry.rescale(
            resource,
            route.namespace,
            route.name,
            replicas,
            managed=managed,
            dry_run=options.dry_run,
        )
        self._answer_scale(call, new, form)

    def _scale(self, call: Call, record: ObjectRecord) -> Object:
        obj = self._store.encode_dict(call.route.kind.resource, record)
        metadata = obj["metadata"]
        names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        replicas, present, selector = call.route.kind.scale(obj)
        status: Object = {"replicas": present}
        if selector:
            status["selector"] = selector
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {name: metadata[name] for name in names if name in metadata},
            "spec": {"replicas": replicas} if replicas else {},
            "status": status,
        }

    # --- pods --------------------------------------------------------------------------------------------------

    def bind(self, call: Call) -> None:
        """Answer POST binding."""
        request, route = call.request, call.route
        options = write_options(request.query, "CreateOptions")
        form = form_of(request.headers, options.pretty, tables=False)
        body = decode(request.headers, request.body, "v1", "Binding")
        binding = decode_object(_BINDING, body, options.field_validation, call.warnings)
        check_scope(PODS, route.namespace, dict(binding.get("metadata") or {}))
        gate = self._gate_of(call)
        if gate is not None:
            binding = gate.pass_part(CREATE, ("", "v1", "Binding"), binding)
        self._registry.bind(route.namespace, route.name, binding, dry_run=options.dry_run)
        call.answer(201, form.media, value_bytes(success(201), form))

    def evict(self, call: Call) -> None:
        """Answer POST eviction: a deletion, if the pod's budget allows it."""
        request, route = call.request, call.route
        form = form_of(request.headers, tables=False)
        body = decode(request.headers, request.body, "policy/v1", "Eviction")
        asked = write_options(request.query, "CreateOptions")
        eviction = decode_object(_EVICTION, body, asked.field_validation, call.warnings)
        if eviction.get("metadata", {}).get("name", "") != route.name:
            raise BadRequest("name in URL does not match name in Eviction object")
        gate = self._gate_of(call)
        if gate is not None:
            eviction = gate.pass_part(CREATE, ("policy", "v1", "Eviction"), eviction)
        check_scope(PODS, route.namespace, dict(eviction.get("metadata") or {}))
        options = dict(eviction.get("deleteOptions") or {})
        dry_run = asked.dry_run or bool(options.get("dryRun"))
        evict(self._registry, route.namespace, route.name, options, dry_run=dry_run)
        call.answer(201, form.media, value_bytes(success(201), form))

    def log(self, call: Call) -> None:
        """Answer GET log with what a container has written."""
        given = parameters(call.request.query)
        form_of(call.request.headers, given.get("pretty"), route=LOG_MEDIA, tables=False)
        record = self._reads.record(call)
        pod = self._store.encode_dict(PODS, record)
        container = container_of(pod, given.get("container", ""))
        if self._runtime is not None and self._runtime.has(record.obj.uid):
            self._real_log(call, self._runtime, record, container["name"], given)
            return
        previous, now_s = _is_set(given, "previous"), self._registry.clock.now()
        log = log_of(pod, container, self._script_of(pod), previous=previous)
        text = "".join(_selected(log.written(now_s), given, now_s)).encode()
        limit = _count(given, "limitBytes")
        text = text if limit is None else text[:limit]
        if _is_set(given, "follow") and not previous:
            stream = call.start(200, "text/plain")
            stream.write(text)
            self._spawn(self._follow(stream, record, container["name"], log, given))
        else:
            call.answer(200, "text/plain", text)

    def _real_log(
        self, call: Call, runtime: Runtime, record: ObjectRecord, container: str, given: dict[str, str]
    ) -> None:
        """Answer with what a process has written."""
        uid, previous, now_s = record.obj.uid, _is_set(given, "previous"), self._registry.clock.now()
        try:
            lines = realpods.logged(runtime, uid, container, previous=previous)
            text = "".join(_selected(lines, given, now_s)).encode()
            limit = _count(given, "limitBytes")
            text = text if limit is None else text[:limit]
            if previous or not _is_set(given, "follow"):
                call.answer(200, "text/plain", text)
                return
            follower = realpods.Follower(runtime, uid, container)
        except RuntimeRefusedError as error:
            raise BadRequest(f'container "{container}" in pod "{record.obj.name}": {error}') from None
        stream = call.start(200, "text/plain")
        stream.write(text)
        self._spawn(self._follow_real(stream, follower, given))

    async def _follow_real(self, stream: Stream, follower: realpods.Follower, given: dict[str, str]) -> None:
        cancel_on_close(stream)
        try:
            while lines := await follower.next():
                stream.write("".join(_texts(lines, given)).encode())
                await stream.drain(_BUFFER_BYTES)
        finally:
            follower.close()
        stream.close()

    async def _follow(
        self, stream: Stream, record: ObjectRecord, container: str, log: Log, given: dict[str, str]
    ) -> None:
        """Keep a log open until its container has stopped, and write what it writes."""
        cancel_on_close(stream)
        first = log.count(self._registry.clock.now())
        async for lines in follow(self._registry, record, container, log, first):
            stream.write("".join(_texts(lines, given)).encode())
            await stream.drain(_BUFFER_BYTES)
        stream.close()


def _scale_form(call: Call, pretty: str | None) -> Form:
    """Return the form of a scale, which a custom resource has as itself in no protobuf either."""
    typed = not isinstance(call.route.kind, CustomResource)
    return form_of(call.request.headers, pretty, messages=typed, route=MEDIA if typed else ())


def _scale_table(scale: Object, form: Form, now_s: float, columns: tuple[tuple[str, str, str, str], ...]) -> Object:
    """Return a scale as a Table of one row."""
    cells = [
        scale["metadata"]["name"],
        scale["spec"].get("replicas", 0),
        scale["status"]["replicas"],
        age(scale, now_s),
    ]
    partial = {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": scale["metadata"],
    }
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": [
            {"name": name, "type": kind, "format": form_name, "description": text, "priority": 0}
            for name, kind, form_name, text in columns
        ],
        "rows": [{"cells": cells, "object": partial}],
    }


def _is_set(given: dict[str, str], name: str) -> bool:
    return given.get(name, "").lower() in {"true", "1"}


def _selected(lines: list[tuple[str, str]], given: dict[str, str], now_s: float) -> list[str]:
    """Return the lines that were asked for, by their times and number."""
    since, seconds = given.get("sinceTime"), _count(given, "sinceSeconds")
    if since and seconds is not None:
        text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise BadRequest(f"PodLogOptions: Forbidden: {text}")
    if seconds == 0:
        raise BadRequest("PodLogOptions: sinceSeconds: Invalid value: 0: must be greater than 0")
    since_s = None if seconds is None else now_s - seconds
    if since:
        try:
            since_s = epoch_of(since)
        except ValueError:
            raise BadRequest(f"sinceTime: {since} is no time") from None
    if since_s is not None:
        lines = [(at, line) for at, line in lines if at and epoch_of(at) >= since_s]
    tail = _count(given, "tailLines")
    if tail is not None:
        lines = lines[len(lines) - tail :] if tail < len(lines) else lines
    return _texts(lines, given)


def _texts(lines: list[tuple[str, str]], given: dict[str, str]) -> list[str]:
    stamped = _is_set(given, "timestamps")
    return [f"{at} {line}\n" if stamped else f"{line}\n" for at, line in lines]


def _count(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if not text:
        return None
    try:
        number = parse_int(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if number < 0:
        raise BadRequest(f"{name}: must be greater than or equal to 0")
    return number


def unknown_part(route: Route[Kind]) -> NotFound:
    """Return the 404 of a subresource that nothing has."""
    if isinstance(route.kind, CustomResource):
        return not_found(route.kind.resource, route.name)
    return NotFound("the server could not find the requested resource", {})
