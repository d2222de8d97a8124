"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: which are about a write, and what their expressions make of it.

Policies act through bindings. A policy that cannot be evaluated (an expression fails, its parameters are not there, the
evaluator is not installed) counts as its failurePolicy says.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.apiserver.admissionrequests import CONNECT, DELETE, GROUP, Asked, Match, Object, request_of
from kubedyno.cluster.registry import admissioncel, celfunctions
from kubedyno.cluster.registry.admissioncel import Authorize, EvaluationError, Program, evaluate, program
from kubedyno.cluster.registry.kinds.admissionregistration import place_of
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.objects import key_of
from kubedyno.kube.patch import PatchError, json_patch
from kubedyno.kube.resources import Resource, built_in
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError, forbidden

_MAX_MESSAGE_BYTES = 5 * 1024
_MAX_PARAMS = 1000
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
FAILURE = "validation.policy.admission.k8s.io/validation_failure"


VALIDATING, VALIDATING_BINDINGS = (
    built_in(GROUP, "validatingadmissionpolicies"),
    built_in(GROUP, "validatingadmissionpolicybindings"),
)
MUTATING, MUTATING_BINDINGS = (
    built_in(GROUP, "mutatingadmissionpolicies"),
    built_in(GROUP, "mutatingadmissionpolicybindings"),
)
POLICY_RESOURCES = (VALIDATING, VALIDATING_BINDINGS, MUTATING, MUTATING_BINDINGS)

LabelsOf = Callable[[Asked], Mapping[str, str] | None]


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a policy acts, with which parameters, and how.

    Attributes:
        match: None: wherever the policy does.
        parameters: paramRef.
        actions: validationActions.
    """

    name: str
    match: Match | None
    parameters: Object | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is bound.

    Attributes:
        closed: A failure counts as a refusal.
        spec: As written.
        place: Which variables its expressions have.
        conditions: All have to hold for the policy to act.
        variables: Name → expression.
        bindings: Where it acts.
    """

    name: str
    closed: bool
    match: Match
    spec: Object
    place: frozenset[str]
    conditions: tuple[str, ...]
    variables: dict[str, str]
    bindings: tuple[Binding, ...]

    @property
    def reinvoked(self) -> bool:
        """Asked again when something changed the object after it."""
        return self.spec.get("reinvocationPolicy") == "IfNeeded"


def read_policies(registry: Registry, policies: Resource, bindings: Resource) -> list[Policy]:
    """Return the policies of one sort that have bindings, by name."""
    store = registry.store
    bound: dict[str, list[Binding]] = {}
    for record in store.list(bindings):
        spec = store.encode_dict(bindings, record).get("spec", {})
        match = spec.get("matchResources")
        binding = Binding(
            record.obj.name,
            None if match is None else Match.of(match),
            spec.get("paramRef"),
            tuple(spec.get("validationActions") or ()),
        )
        bound.setdefault(spec.get("policyName", ""), []).append(binding)
    found = []
    for record in store.list(policies):
        if record.obj.name in bound:
            spec = store.encode_dict(policies, record)["spec"]
            found.append(
                Policy(
                    record.obj.name,
                    spec.get("failurePolicy") != "Ignore",
                    Match.of(spec.get("matchConstraints") or {}),
                    spec,
                    place_of(spec),
                    tuple(condition["expression"] for condition in spec.get("matchConditions") or ()),
                    {variable["name"]: variable["expression"] for variable in spec.get("variables") or ()},
                    tuple(bound[record.obj.name]),
                )
            )
    return found


class ConfigurationError(Exception):
    """A policy cannot be asked: the text says why."""


class Scope:
    """The variables of one policy about one write, with one set of parameters.

    Args:
        policy: Whose expressions.
        asked: The write.
        seen_as: In which version.
        namespace: The write's Namespace, None without one.
        params: What the binding's paramRef names.
        authorize: Answers the authorizer.
    """

    def __init__(
        self, policy: Policy, asked: Asked, seen_as: Resource, namespace: Object | None, params: Object | None,
        authorize: Authorize,
    ) -> None:  # fmt: skip
        self.seen_as = seen_as
        self._policy = policy
        self._authorize = authorize
        self.data = {
            **data_of(asked, seen_as),
            "namespaceObject": namespace,
            "params": params,
            "variables": {},
        }
        self._values: dict[str, Any] = {}

    def value(self, text: str) -> Any:
        """Return an expression's value.

        Raises:
            EvaluationError: It has none.
        """
        compiled = program(text.strip(), self._policy.place)
        return evaluate(compiled, self._with_variables(compiled), self._authorize)

    def _with_variables(self, compiled: Program) -> Object:
        if not compiled.variables:
            return self.data
        return {**self.data, "variables": {name: self._variable(name) for name in compiled.variables}}

    def _variable(self, name: str) -> Any:
        if name not in self._values:
            text = self._policy.variables.get(name)
            if text is None:
                raise EvaluationError(f"no such key: {name}")
            # One that names itself was refused when it was written, unless nothing could be compiled then.
            self._values[name] = None
            try:
                self._values[name] = self.value(text)
            except EvaluationError as error:
                del self._values[name]
                raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}') from None
        return self._values[name]

    def meets(self, conditions: tuple[str, ...]) -> bool:
        """Say whether all conditions hold.

        Raises:
            EvaluationError: None says no, and some have no value.
        """
        return meets(conditions, self.value)


def meets(conditions: tuple[str, ...], value: Callable[[str], Any]) -> bool:
    """Say whether all conditions hold; see `Scope.meets`."""
    failed = []
    for text in conditions:
        try:
            if value(text) is False:
                return False
        except EvaluationError as error:
            failed.append(f"expression '{text}' resulted in error: {error}")
    if failed:
        raise EvaluationError(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
    return True


def data_of(asked: Asked, seen_as: Resource) -> Object:
    """Return the variables that all expressions have."""
    new, old = asked.objects(seen_as)
    resource = asked.resource
    user = asked.user.name
    return {
        "object": new,
        "oldObject": old,
        "request": request_of(asked, seen_as),
        "authorizer": admissioncel.question(user=user),
        "authorizer.requestResource": admissioncel.question(
            user=user,
            group=resource.group,
            resource=resource.plural,
            subresource=asked.subresource,
            namespace=asked.namespace,
            name=asked.name,
        ),
    }


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that a policy found wrong."""

    policy: str
    binding: str
    actions: tuple[str, ...]
    message: str
    reason: str = ""
    index: int = 0

    @property
    def refusal(self) -> str:
        return f"ValidatingAdmissionPolicy '{self.policy}' with binding '{self.binding}' denied request: {self.message}"


class PolicyPlugin:
    """Asks policies.

    Args:
        registry: Where parameters are.
        labels_of: Gives a write's namespace's labels.
        namespace_of: Gives a write's Namespace.
        authorize_as: Gives what answers an expression's authorizer.
        broken: Told of each validation that does not hold: policy, binding, and what that does then.
    """

    def __init__(
        self,
        registry: Registry,
        labels_of: LabelsOf,
        namespace_of: Callable[[Asked], Object | None],
        authorize_as: Callable[[Asked], Authorize],
        broken: Callable[[str, str, tuple[str, ...]], None],
    ) -> None:
        self._registry = registry
        self._labels_of = labels_of
        self._namespace_of = namespace_of
        self._authorize_as = authorize_as
        self._broken = broken

    # --- validation --------------------------------------------------------------------------------------------

    def validate(
        self, policies: list[Policy], asked: Asked, others: tuple[Resource, ...],
        warnings: list[str], annotations: dict[str, str],
    ) -> None:  # fmt: skip
        """Let a write pass that no policy refuses.

        Args:
            policies: All validating ones.
            asked: The write.
            others: Other versions of its resource.
            warnings: Receives warnings.
            annotations: Receives annotations of the audit event.

        Raises:
            StatusError: A policy refuses it.
        """
        denied: list[Decision] = []
        audited: list[Object] = []
        for policy in policies:
            for decision in self._decisions(policy, asked, others, annotations):
                self._broken(decision.policy, decision.binding, decision.actions)
                if "Deny" in decision.actions:
                    denied.append(decision)
                if "Warn" in decision.actions:
                    warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{decision.policy}' with binding "
                        f"'{decision.binding}': {decision.message}"
                    )
                if "Audit" in decision.actions:
                    audited.append(
                        {
                            "message": decision.message,
                            "policy": decision.policy,
                            "binding": decision.binding,
                            "expressionIndex": decision.index,
                            "validationActions": list(decision.actions),
                        }
                    )
        if audited:
            annotations[FAILURE] = orjson.dumps(audited).decode()
        if denied:
            raise refused(asked, denied[0])

    def _decisions(
        self, policy: Policy, asked: Asked, others: tuple[Resource, ...], annotations: dict[str, str]
    ) -> Iterator[Decision]:
        """Yield what one policy finds wrong."""
        for binding, scope in self._scopes(policy, asked, others):
            if isinstance(scope, str):
                if policy.closed:
                    yield Decision(policy.name, binding.name, ("Deny",), scope)
                continue
            try:
                if not scope.meets(policy.conditions):
                    continue
            except EvaluationError as error:
                if policy.closed:
                    yield Decision(policy.name, binding.name, binding.actions, str(error))
                continue
            for i, validation in enumerate(policy.spec.get("validations") or ()):
                found = _judged(scope, validation, closed=policy.closed)
                if found is not None:
                    yield Decision(policy.name, binding.name, binding.actions, *found, i)
            for annotation in policy.spec.get("auditAnnotations") or ():
                key = f"{policy.name}/{annotation['key']}"
                try:
                    value = scope.value(annotation["valueExpression"])
                except EvaluationError as error:
                    if policy.closed:
                        text = f"expression '{annotation['valueExpression']}' resulted in error: {error}"
                        yield Decision(policy.name, binding.name, binding.actions, text)
                    continue
                if value is not None:
                    annotations[key] = str(value)[: 10 * 1024]

    # --- mutation ----------------------------------------------------------------------------------------------

    def mutated(
        self, policy: Policy, asked: Asked, others: tuple[Resource, ...], taken: Callable[[Object, Resource], None]
    ) -> bool:
        """Change a write as a policy says.

        Args:
            policy: A mutating one.
            asked: The write.
            others: Other versions of its resource.
            taken: Takes each new version of the object.

        Returns:
            Whether the object changed.

        Raises:
            Forbidden: The policy failed, and that counts.
        """
        changed = False
        if asked.new is None or asked.operation in {DELETE, CONNECT}:
            return changed
        for binding, scope in self._scopes(policy, asked, others):
            try:
                if isinstance(scope, str):
                    raise EvaluationError(scope)
                if not scope.meets(policy.conditions):
                    continue
                for mutation in policy.spec.get("mutations") or ():
                    new, _ = asked.objects(scope.seen_as)
                    assert new is not None
                    scope.data["object"] = new
                    wanted = self._applied(scope, mutation, new, scope.seen_as)
                    if wanted != new:
                        changed = True
                        taken(wanted, scope.seen_as)
            except (EvaluationError, PatchError) as error:
                if policy.closed:
                    text = (
                        f"MutatingAdmissionPolicy '{policy.name}' with binding '{binding.name}' denied request: {error}"
                    )
                    raise forbidden(asked.resource, asked.name, text) from None
        return changed

    def _applied(self, scope: Scope, mutation: Object, new: Object, seen_as: Resource) -> Object:
        if mutation.get("patchType") == "JSONPatch":
            operations = scope.value(mutation["jsonPatch"]["expression"])
            if not isinstance(operations, list):
                raise EvaluationError("JSONPatch expression must evaluate to a list of operations")
            return dict(json_patch(orjson.loads(orjson.dumps(new)), operations))
        patch = scope.value(mutation["applyConfiguration"]["expression"])
        if not isinstance(patch, dict):
            raise EvaluationError("ApplyConfiguration expression must evaluate to an object")
        for name in ("apiVersion", "kind", "status"):
            patch.pop(name, None)
        metadata = {"name": new["metadata"].get("name", ""), **(patch.get("metadata") or {})}
        whole = {"apiVersion": seen_as.api_version, "kind": seen_as.kind, **patch, "metadata": metadata}
        fields = self._registry.kind(seen_as).fields
        try:
            return fields.applied(orjson.loads(orjson.dumps(new)), whole, b"", "admission", "", "", force=True)[0]
        except StatusError as error:
            raise EvaluationError(error.message) from None

    # --- where a policy acts -----------------------------------------------------------------------------------

    def _scopes(
        self, policy: Policy, asked: Asked, others: tuple[Resource, ...]
    ) -> Iterator[tuple[Binding, "Scope | str"]]:
        """Yield the variables for each binding that a write is meant by, or what is wrong with the binding."""
        seen_as = policy.match.find(asked, others, self._labels_of)
        if seen_as is None:
            return
        for binding in policy.bindings:
            if binding.match is not None and binding.match.find(asked, others, self._labels_of) is None:
                continue
            if not celfunctions.available():
                yield binding, f"failed to configure policy: expressions are not evaluated here: {celfunctions.INSTALL}"
                continue
            try:
                parameters = self._parameters(policy, binding, asked)
            except ConfigurationError as error:
                yield binding, f"failed to configure binding: {error}"
                continue
            for params in parameters:
                namespace = self._namespace_of(asked)
                yield binding, Scope(policy, asked, seen_as, namespace, params, self._authorize_as(asked))

    def _parameters(self, policy: Policy, binding: Binding, asked: Asked) -> list[Object | None]:
        """Return what the binding's paramRef names.

        Raises:
            ConfigurationError: It names nothing that is there, and that is not allowed.
        """
        kind, reference = policy.spec.get("paramKind"), binding.parameters
        if not kind or reference is None:
            return [None]
        resource = self._registry.resource_of(kind["apiVersion"], kind["kind"])
        if resource is None:
            raise ConfigurationError(
                f"failed to find resource referenced by paramKind: '{kind['apiVersion']}, Kind={kind['kind']}'"
            )
        namespace = reference.get("namespace", "")
        if not resource.namespaced:
            if namespace:
                raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        elif not namespace:
            namespace = asked.namespace
            if not namespace:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        store = self._registry.store
        if reference.get("name"):
            record = store.get(resource, key_of(namespace, reference["name"]))
            records = [] if record is None else [record]
        else:
            selector = LabelSelector.of(reference.get("selector") or {})
            records = [each for each in store.list(resource, namespace) if selector.matches(each.obj.labels)]
        if records:
            return [store.encode_dict(resource, each) for each in records[:_MAX_PARAMS]]
        if reference.get("parameterNotFoundAction") == "Allow":
            return []
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")


def _judged(scope: Scope, validation: Object, *, closed: bool) -> tuple[str, str] | None:
    """Return message and reason of a validation that does not hold."""
    text = validation["expression"]
    try:
        if scope.value(text) is True:
            return None
    except EvaluationError as error:
        return (f"expression '{text}' resulted in error: {error}", "") if closed else None
    message = ""
    if validation.get("messageExpression"):
        try:
            given = scope.value(validation["messageExpression"])
        except EvaluationError:
            # As the real server: the message says what it can.
            given = ""
        message = given.strip() if isinstance(given, str) else ""
        if len(message.encode()) > _MAX_MESSAGE_BYTES or "\n" in message:
            message = ""
    message = message or str(validation.get("message") or "").strip() or f"failed expression: {text.strip()}"
    return message, validation.get("reason") or ""


def refused(asked: Asked, decision: Decision) -> StatusError:
    """Return the error of a write that a policy refuses."""
    reason = decision.reason or "Invalid"
    error = forbidden(asked.resource, asked.name, decision.refusal)
    details = {**(error.details or {}), "causes": [{"message": decision.refusal}]}
    return StatusError(error.message, details, code=_CODES.get(reason, 422), reason=reason)
