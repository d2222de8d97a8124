"""POST, PUT, PATCH and DELETE on objects, collections, and the parts of objects that have their own shape rules."""

from collections.abc import Callable, Coroutine
from typing import Any

from kubedyno.base import aio
from kubedyno.base.aio import Spawn
from kubedyno.base.log import logger
from kubedyno.cluster.apiserver.admission import Admission, RequestGate
from kubedyno.cluster.apiserver.admissionwebhooks import ReviewsNeeded
from kubedyno.cluster.apiserver.bodies import decode, duplicates, in_order, media_of
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import Encoder, value_bytes
from kubedyno.cluster.apiserver.patches import APPLY, Change, applied_object, change_of
from kubedyno.cluster.apiserver.queries import (
    delete_options,
    list_options,
    manager_name,
    patch_options,
    write_options,
)
from kubedyno.cluster.apiserver.reads import Page, Reads
from kubedyno.cluster.apiserver.selection import Selection
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.structure import SCHEME, STRICT, decode_options
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import BadRequest, MethodNotAllowed, NotFound, StatusError

# Deleted in one turn of the loop: two milliseconds at most.
DELETIONS_A_STEP = 32
_DELETE_OPTIONS = "DeleteOptions"


class Writes:
    """Answers what changes objects.

    Args:
        registry: Does it.
        reads: Answers with lists.
        encoder_of: A kind's encoder.
        spawn: Runs what outlives the call.
        refuse: Answers a call with an error.
        admit: Lets an object pass that is to be written, or raises.
        admission: Policies and webhooks.
    """

    def __init__(
        self,
        registry: Registry,
        reads: Reads,
        encoder_of: Callable[[Kind], Encoder],
        spawn: Spawn,
        refuse: Callable[[Call, Exception], None],
        admit: Callable[[Call, Any], None],
        admission: Admission,
    ) -> None:
        self._registry = registry
        self._reads = reads
        self._encoder_of = encoder_of
        self._spawn = spawn
        self._refuse = refuse
        self._admit = admit
        self._admission = admission
        self._gate = admission.gate

    def create(self, call: Call) -> None:
        """Answer POST on a collection."""
        request, route = call.request, call.route
        kind = route.kind
        resource = kind.resource
        if resource.namespaced and not route.namespace:
            raise not_allowed()
        options = write_options(request.query, "CreateOptions")
        form = call.form(options.pretty)
        obj = self._decoded(call, options.field_validation)
        if kind.signed and isinstance(obj, dict) and isinstance(obj.get("spec"), dict):
            user = call.user
            extra = {name: list(values) for name, values in user.extra}
            kind.sign(obj, user.name, user.uid, list(user.groups), extra)
        record = self._registry.create(
            resource,
            route.namespace,
            obj,
            manager=manager_name(options.field_manager, request.headers.get("user-agent", "")),
            dry_run=options.dry_run,
            field_validation=options.field_validation,
            warnings=call.warnings,
            gate=self._gate(call),
        )
        call.answer(201, form.media, self._encoder_of(kind).object(record, form))

    def _decoded(self, call: Call, validation: str) -> Any:
        """Return the object that a request brings."""
        request, resource = call.request, call.route.kind.resource
        obj = decode(request.headers, request.body, resource.api_version, resource.kind)
        kind = call.route.kind
        if isinstance(kind, CustomResource) and isinstance(obj, dict) and not obj.get("kind"):
            raise kind.no_kind(request.body.decode(errors="replace"))
        if validation != "Ignore" and media_of(request.headers) in {"", "application/json"}:
            doubled = duplicates(request.body, obj)
            if doubled:
                self._check_doubled(call, obj, validation, doubled)
        self._admit(call, obj)
        return obj

    def _check_doubled(self, call: Call, obj: Any, validation: str, doubled: list[str]) -> None:
        """Warn of members that are there twice, or refuse them, together with unknown ones in the order of the text.

        Raises:
            StatusError: There are such, under Strict.
        """
        kind = call.route.kind
        unknown: list[str] = []
        try:
            kind.decode(obj, "Warn", unknown)
        except StatusError:
            # It does not fit its type at all: whoever decodes it says so, and that goes before.
            return
        if isinstance(kind, CustomResource):
            texts = [*(f'duplicate field "{path}"' for path in doubled), *unknown]
        else:
            paths = [text.removeprefix('unknown field "').removesuffix('"') for text in unknown]
            texts = in_order(call.request.body, doubled, paths)
        if validation != "Strict":
            # Those that are told again later are told once.
            call.warnings += texts
            return
        resource = kind.resource
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise BadRequest(f"{what}: {STRICT}{', '.join(texts)}")

    def _admitted(self, call: Call, change: Change) -> Change:
        """Return a change whose result has to be admitted."""

        def admitted(obj: dict[str, Any]) -> dict[str, Any]:
            wanted = change(obj)
            self._admit(call, wanted)
            return wanted

        return admitted

    def update(self, call: Call) -> None:
        """Answer PUT on an object, its status, or a namespace's finalizers."""
        request, route = call.request, call.route
        resource = route.kind.resource
        options = write_options(request.query, "UpdateOptions")
        form = call.form(options.pretty)
        obj = self._decoded(call, options.field_validation)
        existed = self._registry.store.get(resource, key_of(route.namespace, route.name)) is not None
        record = self._registry.update(
            resource,
            route.namespace,
            route.name,
            obj,
            manager=manager_name(options.field_manager, request.headers.get("user-agent", "")),
            subresource=route.subresource,
            dry_run=options.dry_run,
            field_validation=options.field_validation,
            warnings=call.warnings,
            gate=self._gate(call),
        )
        call.answer(200 if existed else 201, form.media, self._encoder_of(route.kind).object(record, form))

    def patch(self, call: Call) -> None:
        """Answer PATCH on an object or its status."""
        request, route = call.request, call.route
        resource = route.kind.resource
        applies = media_of(request.headers) == APPLY
        options = patch_options(request.query, apply=applies)
        form = call.form(options.pretty)
        if applies:
            applied = applied_object(request.body, options.field_validation, call.warnings)
            self._admit(call, applied)
            record, created = self._registry.apply(
                resource,
                route.namespace,
                route.name,
                applied,
                manager=options.field_manager,
                force=options.force,
                subresource=route.subresource,
                dry_run=options.dry_run,
                warnings=call.warnings,
                gate=self._gate(call),
            )
            call.answer(201 if created else 200, form.media, self._encoder_of(route.kind).object(record, form))
            return
        flaws: list[str] = []
        try:
            change = change_of(
                request.headers,
                request.body,
                resource.api_version,
                resource.kind,
                strategic=route.kind.strategic,
                validation=options.field_validation,
                warnings=call.warnings,
                flaws=flaws,
            )
        except BadRequest:
            # Nobody reads a patch of what is not there.
            self._reads.record(call)
            raise
        record = self._registry.modify(
            resource,
            route.namespace,
            route.name,
            change if call.user.superuser else self._admitted(call, change),
            manager=manager_name(options.field_manager, request.headers.get("user-agent", "")),
            subresource=route.subresource,
            dry_run=options.dry_run,
            field_validation=options.field_validation,
            warnings=call.warnings,
            flaws=flaws,
            gate=self._gate(call),
        )
        call.answer(200, form.media, self._encoder_of(route.kind).object(record, form))

    def delete(self, call: Call) -> None:
        """Answer DELETE on an object."""
        route = call.route
        kind = route.kind
        form = call.form()
        options = self.options(call)
        self._warn_of_orphans(call, options)
        gate = self._deletion_gate(call, options)
        record, gone = self._registry.delete(kind.resource, route.namespace, route.name, options, gate)
        if gone and not kind.returns_deleted:
            call.answer(200, form.media, value_bytes(_deleted(kind.resource, record), form))
        else:
            # Who asked for its dependents to go along learns that it has not gone yet.
            accepted = not gone and options.get("orphanDependents") is False
            call.answer(202 if accepted else 200, form.media, self._encoder_of(kind).object(record, form))

    def _warn_of_orphans(self, call: Call, options: dict[str, Any]) -> None:
        warning = call.route.kind.deletion_warning
        if warning and not options.keys() & {"propagationPolicy", "orphanDependents"}:
            call.warnings.append(warning)

    def _deletion_gate(self, call: Call, options: dict[str, Any]) -> RequestGate | None:
        gate = self._gate(call)
        if gate is not None:
            gate.options = options
        return gate

    def options(self, call: Call) -> dict[str, Any]:
        """Return a request's DeleteOptions."""
        request = call.request
        body = decode(request.headers, request.body, "v1", _DELETE_OPTIONS) if request.body else None
        if not body:
            return delete_options(request.query, body)
        given = body.get("kind") or _DELETE_OPTIONS
        if given != _DELETE_OPTIONS:
            version = body.get("apiVersion") or "meta.k8s.io/v1"
            raise BadRequest(f'no kind "{given}" is registered for version "{version}" in scheme "{SCHEME}"')
        return delete_options(request.query, decode_options("meta.v1.DeleteOptions", body))

    def delete_collection(self, call: Call) -> None:
        """Answer DELETE on a collection: with the objects as they were before."""
        request, route = call.request, call.route
        if route.kind.resource.namespaced and not route.namespace:
            raise not_allowed()
        form = call.form()
        if isinstance(route.kind, CustomResource):
            route.kind.check_readable(self._registry.store)
        wanted = list_options(request.query)
        selection = Selection(self._registry, route.kind, route.namespace, wanted.labels, wanted.fields)
        options = self.options(call)
        self._warn_of_orphans(call, options)
        page = self._reads.page(selection, wanted)
        gate = self._deletion_gate(call, options)
        if gate is not None:
            self._spawn(self._delete_gated(call, page, options, gate))
        elif len(page.records) <= DELETIONS_A_STEP:
            self._delete_some(call, page, options, 0)
            encoder = self._encoder_of(route.kind)
            encoder.check(form, listed=True)
            self._reads.send(call, encoder, page, form)
        else:
            self._spawn(self._delete_all(call, page, options))

    def _delete_some(self, call: Call, page: Page, options: dict[str, Any], start: int) -> None:
        resource = call.route.kind.resource
        for record in page.records[start : start + DELETIONS_A_STEP]:
            try:
                self._registry.delete(resource, record.obj.namespace, record.obj.name, options)
            except NotFound:
                # Somebody was faster: it is as gone as it was to be.
                continue

    async def _delete_all(self, call: Call, page: Page, options: dict[str, Any]) -> None:
        await self._delete_by_and_by(call, page, self._in_steps(call, page, options))

    async def _in_steps(self, call: Call, page: Page, options: dict[str, Any]) -> None:
        for start in range(0, len(page.records), DELETIONS_A_STEP):
            self._delete_some(call, page, options, start)
            await aio.sleep(0)

    async def _delete_gated(self, call: Call, page: Page, options: dict[str, Any], gate: RequestGate) -> None:
        await self._delete_by_and_by(call, page, self._one_by_one(call, page, options, gate))

    async def _one_by_one(self, call: Call, page: Page, options: dict[str, Any], gate: RequestGate) -> None:
        """Delete objects that policies and webhooks are asked about, each in as many turns as it takes."""
        resource = call.route.kind.resource
        for record in page.records:
            gate.rounds = 0
            while True:
                try:
                    self._registry.delete(resource, record.obj.namespace, record.obj.name, options, gate)
                except NotFound:
                    # Somebody was faster: it is as gone as it was to be.
                    break
                except ReviewsNeeded as needed:
                    await self._admission.settle(needed, gate)
                else:
                    break

    async def _delete_by_and_by(self, call: Call, page: Page, deletions: Coroutine[Any, Any, None]) -> None:
        try:
            await deletions
            form = call.form()
            encoder = self._encoder_of(call.route.kind)
            encoder.check(form, listed=True)
            self._reads.send(call, encoder, page, form)
        except StatusError as error:
            self._refuse(call, error)
        except Exception as error:  # noqa: BLE001 - logged with its traceback; the server goes on
            logger(__name__).exception("deletion of a collection failed")
            self._refuse(call, error)


def not_allowed(kind: Kind | None = None, verb: str = "") -> MethodNotAllowed:
    """Return the 405, of a verb where it is a custom resource's."""
    if isinstance(kind, CustomResource):
        of = kind.resource
        text = f'{verb} is not supported on resources of kind "{of.group_resource}"'
        return MethodNotAllowed(text, {"group": of.group, "kind": of.plural})
    return MethodNotAllowed("the server does not allow this method on the requested resource", {})


def success(code: int = 0) -> dict[str, Any]:
    """Return the Status of an action that has no object to answer with."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**status, "code": code} if code else status


def _deleted(resource: Resource, record: ObjectRecord) -> dict[str, Any]:
    details = {"name": record.obj.name}
    if resource.group:
        details["group"] = resource.group
    return {**success(), "details": {**details, "kind": resource.plural, "uid": record.obj.uid}}
