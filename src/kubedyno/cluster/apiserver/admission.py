"""Admission by the objects of admissionregistration.k8s.io: whether any is about a request, and its way through them.

Most clusters have none, and then a write asks one attribute. The decisions are made in the registry's own step
(`registry.gate`); only calls of webhooks wait, outside of it (`settle`).
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import orjson

from kubedyno.cluster.apiserver import admissionpolicies, admissionwebhooks, noderestriction
from kubedyno.cluster.apiserver.admissioncounts import AdmissionCounts
from kubedyno.cluster.apiserver.admissionpolicies import POLICY_RESOURCES, Policy, PolicyPlugin, read_policies
from kubedyno.cluster.apiserver.admissionrequests import CONNECT, CREATE, DELETE, UPDATE, Asked, Match
from kubedyno.cluster.apiserver.admissionwebhooks import Answer, Review, ReviewsNeeded, Webhook, read_webhooks
from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, User
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.apiserver.webhookclient import CallError, WebhookClient
from kubedyno.cluster.registry.admissioncel import Authorize
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.structure import DecodeError
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.http.messages import Request
from kubedyno.kube.resources import NAMESPACES, Resource
from kubedyno.kube.status import InternalError, ServiceUnavailable, StatusError, Timeout

_CONFIGURATIONS = (*POLICY_RESOURCES, admissionwebhooks.MUTATING, admissionwebhooks.VALIDATING)
_OPTIONS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}
SERVICE_ACCOUNT = "system:serviceaccount:"
# What a client is told before what is wrong with its object; nobody says it of what a webhook made.
_HANDLED = re.compile(r'^\S+ in version "[^"]*" cannot be handled as a \S+: ')
# Where the real server has the kinds that it reads.
_CLIENTS_SCHEME, _WEBHOOKS_SCHEME = '"pkg/api/legacyscheme/scheme.go:30"', '"pkg/runtime/scheme.go:111"'
_OTHER_KIND = re.compile(r"converting \(.*\) to \(.*\): unknown conversion")
# How often a request is begun anew because an object changed while webhooks were asked about it.
_MAX_ROUNDS = 100


class Admission:
    """All policies and webhooks.

    Args:
        registry: Whose.
        authorizer: Answers expressions that ask it.
        client: Calls webhooks.

    Attributes:
        annotations_of: Gives the annotations of a request's audit event, to be added to.
        audited: There is an audit log: what Pod Security says of pods belongs into it.
        counts: What webhooks and policies have said.
    """

    def __init__(self, registry: Registry, authorizer: Authorizer, client: WebhookClient) -> None:
        self.registry = registry
        self.authorizer = authorizer
        self.client = client
        self.annotations_of: Callable[[Request], dict[str, str]] = lambda _: {}
        self.audited = False
        self._stale = True
        self._any = False
        self._interest: dict[tuple[int, str], bool] = {}
        self._others: dict[int, tuple[Resource, ...]] = {}
        self.validating: list[Policy] = []
        self.mutating: list[Policy] = []
        self.validating_webhooks: list[Webhook] = []
        self.mutating_webhooks: list[Webhook] = []
        self.counts = AdmissionCounts()
        self.policies = PolicyPlugin(
            registry, self.labels_of, self.namespace_of, self.authorize_as, self.counts.broken
        )  # fmt: skip
        for resource in _CONFIGURATIONS:
            registry.store.table(resource).subscribe(self._changed)

    def _changed(self) -> None:
        self._stale = True

    def served_otherwise(self) -> None:
        """Forget which versions of a resource there are."""
        self._interest.clear()
        self._others.clear()

    def _read(self) -> None:
        self._stale = False
        self._interest.clear()
        registry = self.registry
        self.validating = read_policies(
            registry, admissionpolicies.VALIDATING, admissionpolicies.VALIDATING_BINDINGS
        )  # fmt: skip
        self.mutating = read_policies(registry, admissionpolicies.MUTATING, admissionpolicies.MUTATING_BINDINGS)
        self.validating_webhooks = read_webhooks(registry, admissionwebhooks.VALIDATING)
        self.mutating_webhooks = read_webhooks(registry, admissionwebhooks.MUTATING)
        self._any = bool(self.validating or self.mutating or self.validating_webhooks or self.mutating_webhooks)

    def gate(self, call: Call) -> "RequestGate | None":
        """Return what a request has to pass; None when nothing is about its resource, as mostly."""
        if self._stale:
            self._read()
        restricted = call.user.node and self.authorizer.kubelets is not None
        noted = self.audited and self.registry.rules.are_noted(call.route.kind.resource)
        if not (restricted or noted) and (
            not self._any or not self._concerns(call.route.kind.resource, call.route.subresource)
        ):  # fmt: skip
            return None
        if call.gate is None:
            request = call.request
            call.gate = RequestGate(
                self, call.user, request.query, call.warnings, self.annotations_of(request), call.route
            )  # fmt: skip
        gate: RequestGate = call.gate
        return gate

    def is_about(self, resource: Resource) -> bool:
        """Say whether a policy or webhook may be about the objects of a resource, once all are read."""
        if self._stale:
            self._read()
        return self._any and self._concerns(resource, "")

    @property
    def has_webhooks(self) -> bool:
        """Some webhook is there."""
        return bool(self.validating_webhooks or self.mutating_webhooks)

    def asks(self, resource: Resource, subresource: str) -> bool:
        """Say whether a policy or webhook may be about a resource."""
        return self._any and self._concerns(resource, subresource)

    def _concerns(self, resource: Resource, subresource: str) -> bool:
        key = (id(resource), subresource)
        interested = self._interest.get(key)
        if interested is None:
            interested = self._interest[key] = self._is_interested(resource, subresource)
        return interested

    def _is_interested(self, resource: Resource, subresource: str) -> bool:
        if any(resource.group == each.group and resource.plural == each.plural for each in _CONFIGURATIONS):
            # Nobody is locked out of what locks out.
            return False
        others = self.others(resource)
        matches: list[Match] = [policy.match for policy in (*self.validating, *self.mutating)]
        matches += [hook.match for hook in (*self.validating_webhooks, *self.mutating_webhooks) if hook.match.rules]
        return any(match.is_about(resource, subresource, others) for match in matches)

    def others(self, resource: Resource) -> tuple[Resource, ...]:
        """Return other versions of the objects of a resource."""
        found = self._others.get(id(resource))
        if found is None:
            kind = self.registry.kind(resource)
            core = kind.stored_as or resource
            found = self._others[id(resource)] = tuple(
                other.resource
                for other in self.registry.kinds.values()
                if other.resource is not resource
                and (
                    (other.stored_as or other.resource) is core
                    or (other.resource.group == resource.group and other.resource.plural == resource.plural)
                )
            )
        return found

    def labels_of(self, asked: Asked) -> dict[str, str] | None:
        """Return the labels of a write's namespace, None where namespaces do not matter."""
        if asked.resource is NAMESPACES:
            obj = asked.new or asked.old or {}
            return obj.get("metadata", {}).get("labels") or {}
        if not asked.namespace:
            return None
        record = self.registry.store.get(NAMESPACES, asked.namespace)
        return dict(record.obj.labels) if record is not None else {}

    def namespace_of(self, asked: Asked) -> Object | None:
        """Return a write's Namespace."""
        record = self.registry.store.get(NAMESPACES, asked.namespace) if asked.namespace else None
        if record is None:
            return asked.new if asked.resource is NAMESPACES else None
        namespace = self.registry.store.encode_dict(NAMESPACES, record)
        namespace["metadata"].pop("managedFields", None)
        return namespace

    def authorize_as(self, asked: Asked) -> Authorize:
        """Return what answers the authorizer of an expression."""

        def authorize(question: dict[str, str]) -> tuple[bool, str]:
            name = question.pop("user")
            user = asked.user if name == asked.user.name else service_account(name)
            reason = self.authorizer.reason(user, Attributes(**question))
            return bool(reason), reason

        return authorize

    async def settle(self, needed: ReviewsNeeded, gate: "RequestGate") -> None:
        """Ask webhooks and keep what they answer; a call that fails is an answer too."""
        answers = await asyncio.gather(*(self._ask(review) for review in needed.reviews))
        gate.answers.update(zip((review.key for review in needed.reviews), answers, strict=True))
        gate.rounds += 1

    async def _ask(self, review: Review) -> Answer:
        hook = review.webhook
        began_s, code = self.registry.clock.monotonic(), ServiceUnavailable.code
        try:
            document = await self.client.post(
                hook.client, review.document, hook.timeout_s, f"timeout={hook.timeout_s}s"
            )  # fmt: skip
        except CallError as error:
            answer, code = admissionwebhooks.failed(str(error)), error.code
        else:
            answer = admissionwebhooks.answer_of(review, document)
        refused = admissionwebhooks.refusal(hook, answer)
        if not answer.problem:
            code = 200 if refused is None else refused.code
        self.counts.called(
            hook.name,
            review.document["request"]["operation"],
            self.registry.clock.monotonic() - began_s,
            code,
            mutating=hook.mutating,
            failed=bool(answer.problem),
            rejected=refused is not None,
        )
        return answer


def service_account(name: str) -> User:
    """Return a user by its name, with the groups that a service account of that name has."""
    groups = [AUTHENTICATED]
    if name.startswith(SERVICE_ACCOUNT):
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}"]
    return User(name, tuple(groups))


def _unfit(problem: str) -> StatusError:
    """Return the error of a write that something has made into what is no object of its kind."""
    other = _OTHER_KIND.search(problem)
    if other is not None:
        return StatusError(other[0], code=InternalError.code, reason="")
    text = _HANDLED.sub("", problem).replace(_CLIENTS_SCHEME, _WEBHOOKS_SCHEME)
    return InternalError(f"Internal error occurred: {text}", {"causes": [{"message": text}]})


class RequestGate:
    """One request's way through policies and webhooks: see `registry.gate`.

    Args:
        admission: All policies and webhooks.
        user: Who asks.
        query: Of the request.
        warnings: Receives warnings.
        annotations: Receives annotations of the audit event.
        route: Of the request; None for what the cluster does itself.
        hooked: Webhooks are asked, too.

    Attributes:
        annotations: For the audit event.
        options: DeleteOptions of a deletion.
        answers: Of webhooks, by the key of their review.
        rounds: How often webhooks were asked.
    """

    def __init__(
        self, admission: Admission, user: User, query: str, warnings: list[str], annotations: dict[str, str],
        route: Route[Kind] | None, *, hooked: bool = True,
    ) -> None:  # fmt: skip
        random = admission.registry.random
        self._admission = admission
        self._user = user
        self._query = query
        self._warnings = warnings
        self.annotations = annotations
        self._route = route
        self._hooked = hooked
        self.uid = random.uid()
        self.suffix = random.suffix()
        self.now_s = admission.registry.clock.now()
        self.options: Object = {}
        self.answers: dict[bytes, Answer] = {}
        self.rounds = 0
        self._review_uid = random.uid()

    # --- what is asked -----------------------------------------------------------------------------------------

    def _asked(self, kind: Kind, subresource: str, new: Object | None, old: ObjectRecord | None) -> Asked:
        resource, store = kind.resource, self._admission.registry.store
        before = None if old is None else store.encode_dict(resource, old)
        shown = None if new is None else self._shown(kind, new)
        metadata = (shown or before or {}).get("metadata", {})
        name = metadata.get("name", "")
        namespace = metadata.get("namespace", "") if resource.namespaced else name if resource is NAMESPACES else ""
        operation = DELETE if new is None else CREATE if old is None else UPDATE
        if new is None and self._route is not None:
            # Who deletes a collection names nobody.
            name = self._route.name
        return self._of(
            operation, resource, subresource, (resource.group, resource.version, resource.kind), namespace, name,
            shown, before,
        )  # fmt: skip

    def _of(
        self, operation: str, resource: Resource, subresource: str, shape: tuple[str, str, str], namespace: str,
        name: str, new: Object | None, old: Object | None,
    ) -> Asked:  # fmt: skip
        given = parameters(self._query)
        options: Object = {}
        if operation in _OPTIONS:
            options = {"kind": _OPTIONS[operation], "apiVersion": "meta.k8s.io/v1", **self.options}
            options.update({n: given[n] for n in ("fieldManager", "fieldValidation") if given.get(n)})
        dry_run = bool(given.get("dryRun")) or bool(self.options.get("dryRun"))
        if dry_run:
            options["dryRun"] = ["All"]
        return Asked(
            operation, resource, subresource, shape, namespace, name, new, old, self._user, options, dry_run,
            self._converted,
        )  # fmt: skip

    def _shown(self, kind: Kind, new: Object) -> Object:
        """Return a decoded object as a client of its version sees it."""
        copy = orjson.loads(orjson.dumps(new))
        if kind.stored_as is not None:
            copy = kind.from_stored(copy)
        resource = kind.resource
        return {"kind": resource.kind, "apiVersion": resource.api_version, **copy}

    def _converted(self, obj: Object, to: Resource) -> Object:
        """Return an object in another version of its resource."""
        registry = self._admission.registry
        source = registry.resource_of(obj["apiVersion"], obj["kind"])
        assert source is not None
        kind, target = registry.kind(source), registry.kind(to)
        copy = orjson.loads(orjson.dumps(obj))
        if kind.stored_as is not None:
            copy = kind.decode(copy, "Ignore")
            kind.default(copy)
        if target.stored_as is not None:
            copy = target.from_stored(copy)
        return {**copy, "kind": to.kind, "apiVersion": to.api_version}

    # --- mutation ----------------------------------------------------------------------------------------------

    def mutated(self, kind: Kind, subresource: str, new: Object, old: ObjectRecord | None) -> Object:
        """See `registry.gate.Gate`."""
        admission = self._admission
        if not admission.mutating and not admission.mutating_webhooks:
            return new
        if not admission.asks(kind.resource, subresource):
            return new
        asked = self._asked(kind, subresource, new, old)
        result = [new]

        def taken(wanted: Object, seen_as: Resource) -> None:
            if seen_as is not kind.resource:
                wanted = self._converted(wanted, kind.resource)
            try:
                decoded = kind.decode(wanted, "Ignore")
            except (DecodeError, StatusError) as error:
                raise _unfit(str(error)) from None
            kind.default(decoded)
            result[0] = decoded
            asked.changed(self._shown(kind, decoded))

        def admit_again() -> None:
            shown = self._shown(kind, result[0])
            admission.registry.admit_again(kind, subresource, asked.namespace, result[0], old, self.suffix)
            if (again := self._shown(kind, result[0])) != shown:
                asked.changed(again)

        self._run_mutations(asked, taken, admit_again)
        return result[0]

    def mutate_part(self, asked: Asked) -> Object | None:
        """Return the object of a subresource as policies and webhooks want it."""
        self._run_mutations(asked, lambda wanted, _: asked.changed(wanted), lambda: None)
        return asked.new

    def _run_mutations(
        self, asked: Asked, taken: Callable[[Object, Resource], None], admit_again: Callable[[], None]
    ) -> None:
        """Ask policies, then webhooks; the built-in plug-ins and those that want to, once more if something changed."""
        admission = self._admission
        others = admission.others(asked.resource)
        steps: list[tuple[bool, Callable[[int], bool | None]]] = [
            *((policy.reinvoked, self._policy_step(policy, asked, others, taken)) for policy in admission.mutating),
            *((hook.reinvoked, self._webhook_step(hook, asked, others, taken))
              for hook in (admission.mutating_webhooks if self._hooked else ())),
        ]  # fmt: skip
        asked_before: list[int] = []
        again: set[int] = set()
        any_changed = False
        for i, (reinvoked, step) in enumerate(steps):
            changed = step(0)
            if changed:
                any_changed = True
                again.update(asked_before)
            if reinvoked and changed is not None:
                asked_before.append(i)
        if not any_changed:
            return
        made = asked.new
        admit_again()
        if asked.new is not made:
            again.update(asked_before)
        for i in asked_before:
            # What changes now is seen by those that are still to come.
            if i in again and steps[i][1](1):
                again.update(asked_before)

    def _policy_step(
        self, policy: Policy, asked: Asked, others: tuple[Resource, ...], taken: Callable[[Object, Resource], None]
    ) -> Callable[[int], bool | None]:
        return lambda _: self._admission.policies.mutated(policy, asked, others, taken)

    def _webhook_step(
        self, hook: Webhook, asked: Asked, others: tuple[Resource, ...], taken: Callable[[Object, Resource], None]
    ) -> Callable[[int], bool | None]:
        def step(turn: int) -> bool | None:
            """Say whether it has changed the object; None: it is not asked."""
            admission = self._admission
            authorize = admission.authorize_as(asked)
            seen_as = admissionwebhooks.seen_by(hook, asked, others, admission.labels_of, authorize)
            if seen_as is None:
                return None
            answer = self._answer(admissionwebhooks.review_of(hook, asked, seen_as, turn, self._review_uid))
            self._hear(hook, answer)
            if not answer.patch:
                return False
            new, _ = asked.objects(seen_as)
            if new is None:
                raise admissionwebhooks.unpatchable(hook)
            wanted = admissionwebhooks.patched(answer, new)
            if wanted == new:
                return False
            taken(wanted, seen_as)
            return True

        return step

    def _answer(self, review: Review) -> Answer:
        answer = self.answers.get(review.key)
        if answer is None:
            if self.rounds >= _MAX_ROUNDS:
                raise Timeout("request did not complete within the allotted timeout")
            raise ReviewsNeeded([review])
        return answer

    def _hear(self, hook: Webhook, answer: Answer) -> None:
        admissionwebhooks.told(hook, answer, self._warnings, self.annotations)
        error = admissionwebhooks.refusal(hook, answer)
        if error is not None:
            raise error

    # --- validation --------------------------------------------------------------------------------------------

    def check(self, kind: Kind, subresource: str, new: Object | None, old: ObjectRecord | None) -> None:
        """See `registry.gate.Gate`."""
        asked = self._asked(kind, subresource, new, old)
        if new is None:
            self.mutate_part(asked)
        self._check(asked)

    def _check(self, asked: Asked) -> None:
        admission = self._admission
        if asked.user.node and admission.authorizer.kubelets is not None:
            noderestriction.check(asked, asked.user.node, admission.registry.store)
        if not admission.asks(asked.resource, asked.subresource):
            return
        others = admission.others(asked.resource)
        admission.policies.validate(admission.validating, asked, others, self._warnings, self.annotations)
        hooks = admission.validating_webhooks if self._hooked else []
        if not hooks:
            return
        authorize = admission.authorize_as(asked)
        seen: dict[str, Resource] = {}
        for hook in hooks:
            seen_as = admissionwebhooks.seen_by(hook, asked, others, admission.labels_of, authorize)
            if seen_as is not None:
                seen[hook.key] = seen_as
        if self.rounds >= _MAX_ROUNDS:
            raise Timeout("request did not complete within the allotted timeout")
        refused: StatusError | None = None
        for hook, answer in admissionwebhooks.outcomes(hooks, asked, seen, self.answers, self._review_uid):
            admissionwebhooks.told(hook, answer, self._warnings, self.annotations)
            refused = refused or admissionwebhooks.refusal(hook, answer)
        if refused is not None:
            raise refused

    def pass_part(
        self, operation: str, shape: tuple[str, str, str], new: Object, old: Object | None = None,
        completed: Callable[[Object], Object] = lambda new: new,
    ) -> Object:  # fmt: skip
        """Let an object of a subresource's own kind pass; returns it as it is to be.

        Args:
            operation: CREATE, UPDATE or CONNECT.
            shape: (group, version, kind) of the object.
            new: The object.
            old: As it is.
            completed: Checks the object that was asked for, and returns what validation sees of it.

        Raises:
            StatusError: It may not pass.
        """
        route = self._route
        assert route is not None
        asked = self._of(
            operation, route.kind.resource, route.subresource, shape, route.namespace, route.name, new, old
        )  # fmt: skip
        asked.convert = None
        if operation == CREATE:
            metadata = new.get("metadata") or {}
            new = asked.new = {
                **new,
                "metadata": {**metadata, "namespace": metadata.get("namespace") or route.namespace},
            }
        if operation != CONNECT:
            new = completed(self.mutate_part(asked) or new)
            asked.changed(new)
        else:
            self.mutate_part(asked)
        self._check(asked)
        return new


def connected(gate: Any, call: Call) -> None:
    """Let a request pass that enters a pod.

    Raises:
        StatusError: It may not.
    """
    kinds = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
    kind = kinds.get(call.route.subresource)
    if kind is None:
        return
    options: Object = {"kind": kind, "apiVersion": "v1"}
    for name, values in parse_qs(call.request.query).items():
        if name in {"stdin", "stdout", "stderr", "tty"}:
            if values[0].lower() in {"true", "1"}:
                options[name] = True
        elif name == "command":
            options[name] = values
        elif name == "ports":
            options[name] = [int(port) for port in ",".join(values).split(",") if port.isdecimal() and len(port) < 6]
        elif name == "container":
            options[name] = values[0]
    gate.pass_part(CONNECT, ("", "v1", kind), options)
