"""admissionregistration.k8s.io: webhooks, and policies in CEL."""

from typing import Any
from urllib.parse import urlsplit

from kubedyno.cluster.registry.admissioncel import (
    BOOL,
    CONDITION,
    LIST,
    MAP,
    PARAMS,
    POLICY,
    STRING,
    checked,
    condition_causes,
    expression_causes,
    unevaluated,
)
from kubedyno.cluster.registry.celfunctions import available
from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.conditions import condition_causes as condition_causes_of
from kubedyno.cluster.registry.kinds.rules import named, one_of, qualified, repeated
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1035_label, problems_of_dns1123_subdomain, problems_of_path_segment
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
# What a policy may mutate.
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_FAILURE_POLICIES = ("Fail", "Ignore")
_MATCH_POLICIES = ("Equivalent", "Exact")
_PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_REVIEWS = ("v1", "v1beta1")
_ACTIONS = ("Audit", "Deny", "Warn")
_SEGMENTS = 3
_MAX_TIMEOUT_S = 30
_URL_FORM = "desired format: https://host[/path]"
_UNSET = "<unset>"
_WEBHOOK_PORT = 443


def _default_rule(rule: Object) -> None:
    rule.setdefault("scope", "*")


def default_client(client: Object) -> None:
    """Fill in how a webhook is called."""
    if "service" in client:
        client["service"].setdefault("port", _WEBHOOK_PORT)


def client_causes(client: Object, path: str) -> list[Cause]:
    """Return what is wrong with how a webhook is called."""
    url, service = client.get("url"), client.get("service") or {}
    if (url is None) == ("service" not in client):
        return [required(path, "exactly one of url or service is required")]
    causes: list[Cause] = []
    if url is not None:
        where = f"{path}.url"
        try:
            parts = urlsplit(url)
        except ValueError as error:
            return [required(where, f"url must be a valid URL: {error}; {_URL_FORM}")]
        if parts.scheme != "https":
            text = f"'https' is the only allowed URL scheme; {_URL_FORM}"
            causes.append(invalid_value(where, parts.scheme, text))
        if not parts.netloc:
            causes.append(invalid_value(where, parts.netloc, f"host must be specified; {_URL_FORM}"))
        if parts.username is not None:
            text = f"user information is not permitted in the URL; {_URL_FORM}"
            causes.append(invalid_value(where, parts.username, text))
        if parts.fragment:
            causes.append(invalid_value(where, parts.fragment, "fragments are not permitted in the URL; " + _URL_FORM))
        if parts.query:
            text = "query parameters are not permitted in the URL; " + _URL_FORM
            causes.append(invalid_value(where, parts.query, text))
    else:
        # Each is told of the other, as the real server takes the one for the other.
        absent = [told for told, name in (("name", "namespace"), ("namespace", "name")) if not service.get(name)]
        causes += [required(f"{path}.service.{told}") for told in absent]
        port = service["port"]
        if not 1 <= port <= 65535:
            text = "port is not valid: must be between 1 and 65535, inclusive"
            causes.append(invalid_value(f"{path}.service.port", port, text))
        causes += _url_path(service.get("path", ""), f"{path}.service.path")
    return causes


def _url_path(text: str, path: str) -> list[Cause]:
    """Return what is wrong with the path of a service's URL."""
    if text in {"", "/"}:
        return []
    if text == "//":
        return [invalid_value(path, text, "segment[0] may not be empty")]
    causes = [] if text.startswith("/") else [invalid_value(path, text, "must start with a '/'")]
    for i, segment in enumerate(text[1:].removesuffix("/").split("/")):
        if not segment:
            causes.append(invalid_value(path, text, f"segment[{i}] may not be empty"))
            continue
        problems = problems_of_dns1123_subdomain(segment)
        causes += [invalid_value(path, text, f"segment[{i}]: {problem}") for problem in problems]
    return causes


def _strings(rule: Object, name: str, path: str, what: str) -> list[Cause]:
    values = rule.get(name, [])
    if not values:
        return [required(f"{path}.{name}")]
    causes: list[Cause] = []
    if "*" in values and len(values) > 1:
        text = f"if '*' is present, must not specify other {what}"
        causes.append(invalid_value(f"{path}.{name}", values, text))
    if name == "apiVersions":
        for i, version in enumerate(values):
            if not version:
                causes.append(required(f"{path}.{name}[{i}]"))
    return causes


def rule_causes(rule: Object, path: str) -> list[Cause]:
    """Return what is wrong with a rule that says which requests are meant."""
    causes = _strings(rule, "operations", path, "operations")
    for i, operation in enumerate(rule.get("operations", ())):
        causes += one_of(f"{path}.operations[{i}]", operation, _OPERATIONS)
    causes += _strings(rule, "apiGroups", path, "API groups")
    causes += _strings(rule, "apiVersions", path, "API versions")
    causes += _resources(rule.get("resources", []), f"{path}.resources")
    return causes + one_of(f"{path}.scope", rule["scope"], _SCOPES)


def _resources(resources: list[str], path: str) -> list[Cause]:
    causes = [] if resources else [required(path)]
    whole, everywhere = set[str](), set[str]()
    bare = False
    for i, resource in enumerate(resources):
        where = f"{path}[{i}]"
        if not resource:
            causes.append(required(where))
            continue
        name, slash, part = resource.partition("/")
        if not slash:
            bare = resource != "*"
            continue
        if name in whole:
            causes.append(invalid_value(where, resource, f"if '{name}/*' is present, must not specify {resource}"))
        if part in everywhere:
            causes.append(invalid_value(where, resource, f"if '*/{part}' is present, must not specify {resource}"))
        if part == "*":
            whole.add(name)
        if name == "*":
            everywhere.add(part)
    if len(resources) > 1 and "*/*" in resources:
        causes.append(invalid_value(path, resources, "if '*/*' is present, must not specify other resources"))
    if bare and "*" in resources:
        text = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid_value(path, resources, text))
    return causes


def _named_rule_causes(rule: Object, path: str) -> list[Cause]:
    names = rule.get("resourceNames", [])
    twice = dict(repeated(names))
    causes: list[Cause] = []
    for i, name in enumerate(names):
        where = f"{path}.resourceNames[{i}]"
        causes += [invalid_value(where, name, problem) for problem in problems_of_path_segment(name)]
        if i in twice:
            causes.append(duplicate(where, name))
    return causes + rule_causes(rule, path)


class WebhookConfigurations(Kind):
    """ValidatingWebhookConfiguration and MutatingWebhookConfiguration."""

    metadata_checks = "w"
    standard_finalizers = False
    unconditional_update = False
    has_generation = True

    def default(self, obj: Object) -> None:
        mutating = self.resource.kind.startswith("Mutating")
        for hook in obj.get("webhooks", ()):
            hook.setdefault("failurePolicy", "Fail")
            hook.setdefault("matchPolicy", "Equivalent")
            hook.setdefault("namespaceSelector", {})
            hook.setdefault("objectSelector", {})
            hook.setdefault("timeoutSeconds", 10)
            hook.setdefault("admissionReviewVersions", None)
            default_client(hook.setdefault("clientConfig", {}))
            if mutating:
                hook.setdefault("reinvocationPolicy", "Never")
            for rule in hook.get("rules", ()):
                _default_rule(rule)

    def spec_of(self, obj: Object) -> Any:
        return obj.get("webhooks")

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        names: set[str] = set()
        for i, hook in enumerate(obj.get("webhooks", ())):
            path, name = f"webhooks[{i}]", hook.get("name", "")
            causes += _webhook(hook, path)
            if name in names:
                causes.append(duplicate(f"{path}.name", name))
            names.add(name)
        return causes

    def warnings(self, obj: Object) -> list[str]:
        return unevaluated(obj) if any(hook.get("matchConditions") for hook in obj.get("webhooks", ())) else []

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj.get("webhooks", ())), age(obj, now_s)]


def _full_name(path: str, name: str) -> list[Cause]:
    if not name:
        return [required(path)]
    causes = [invalid_value(path, name, p) for p in problems_of_dns1123_subdomain(name)]
    if not causes and name.count(".") < _SEGMENTS - 1:
        causes.append(invalid_value(path, name, "should be a domain with at least three segments separated by dots"))
    return causes


def _webhook(hook: Object, path: str) -> list[Cause]:
    causes = _full_name(f"{path}.name", hook.get("name", ""))
    for i, rule in enumerate(hook.get("rules", ())):
        causes += rule_causes(rule, f"{path}.rules[{i}]")
    causes += one_of(f"{path}.failurePolicy", hook["failurePolicy"], _FAILURE_POLICIES)
    causes += one_of(f"{path}.matchPolicy", hook["matchPolicy"], _MATCH_POLICIES)
    effects = hook.get("sideEffects")
    if effects is None:
        causes.append(required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        causes += one_of(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
    seconds = hook["timeoutSeconds"]
    if not 1 <= seconds <= _MAX_TIMEOUT_S:
        text = f"the timeout value must be between 1 and {_MAX_TIMEOUT_S} seconds"
        causes.append(invalid_value(f"{path}.timeoutSeconds", seconds, text))
    for name in ("namespaceSelector", "objectSelector"):
        causes += selector_causes(hook[name], f"{path}.{name}")
    causes += client_causes(hook["clientConfig"], f"{path}.clientConfig")
    causes += review_version_causes(hook["admissionReviewVersions"] or [], f"{path}.admissionReviewVersions")
    if hook.get("reinvocationPolicy") is not None:
        causes += one_of(f"{path}.reinvocationPolicy", hook["reinvocationPolicy"], ("IfNeeded", "Never"))
    return causes + condition_causes(f"{path}.matchConditions", hook.get("matchConditions", ()), CONDITION)


def review_version_causes(versions: list[str], path: str) -> list[Cause]:
    """Return what is wrong with the versions of reviews that a webhook understands."""
    if not versions:
        return [required(path, f"must specify one of {', '.join(_REVIEWS)}")]
    causes: list[Cause] = []
    again = {i for i, _ in repeated(versions)}
    for i, version in enumerate(versions):
        if i in again:
            causes.append(invalid_value(f"{path}[{i}]", version, "duplicate version"))
            continue
        causes += [invalid_value(f"{path}[{i}]", version, p) for p in problems_of_dns1035_label(version)]
    if not set(versions) & set(_REVIEWS):
        text = f"must include at least one of {', '.join(_REVIEWS)}"
        causes.append(invalid_value(path, versions, text))
    return causes


# --- policies ----------------------------------------------------------------------------------------------------


class AdmissionPolicies(Kind):
    """ValidatingAdmissionPolicy and MutatingAdmissionPolicy."""

    metadata_checks = "w"
    standard_finalizers = False
    unconditional_update = False
    has_generation = True

    @property
    def _mutating(self) -> bool:
        return self.resource.kind.startswith("Mutating")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        match = spec.get("matchConstraints")
        if match is not None:
            _default_match(match)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = one_of("spec.failurePolicy", spec["failurePolicy"], _FAILURE_POLICIES)
        kind = spec.get("paramKind")
        if kind is not None:
            causes += _param_kind(kind, "spec.paramKind")
        match = spec.get("matchConstraints")
        if match is None:
            causes.append(required("spec.matchConstraints"))
        else:
            causes += _match_causes(match, "spec.matchConstraints", needed=True)
            causes += _mutable_causes(match, "spec.matchConstraints") if self._mutating else []
        place = place_of(spec)
        conditions = condition_causes("spec.matchConditions", spec.get("matchConditions", ()), place - {"variables"})
        declared: dict[str, str] = {}
        causes += conditions + _variables(spec, place, declared, mutating=self._mutating)
        if self._mutating:
            return causes + _mutations(spec, place, declared)
        return causes + _validations(spec, obj["metadata"].get("name", ""), place, declared)

    def warnings(self, obj: Object) -> list[str]:
        return unevaluated(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        kind = spec.get("paramKind")
        return [
            obj["metadata"]["name"],
            len(spec.get("mutations" if self._mutating else "validations", ())),
            f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else _UNSET,
            age(obj, now_s),
        ]


class ValidatingAdmissionPolicies(AdmissionPolicies):
    """The one of both that has a status."""

    status_keeps = METADATA
    has_status = True

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        status = obj.get("status", {})
        causes: list[Cause] = []
        for i, warning in enumerate(status.get("typeChecking", {}).get("expressionWarnings", ())):
            path = f"status.typeChecking.expressionWarnings[{i}]"
            causes += [required(f"{path}.{name}") for name in ("warning", "fieldRef") if not warning.get(name)]
        return causes + condition_causes_of(status.get("conditions", ()), "status.conditions")


def _default_match(match: Object) -> None:
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    match.setdefault("matchPolicy", "Equivalent")
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(name, ()):
            _default_rule(rule)


def _match_causes(match: Object, path: str, *, needed: bool = False) -> list[Cause]:
    causes = one_of(f"{path}.matchPolicy", match["matchPolicy"], _MATCH_POLICIES)
    for name in ("namespaceSelector", "objectSelector"):
        causes += selector_causes(match[name], f"{path}.{name}")
    if needed and not match.get("resourceRules"):
        causes.append(required(f"{path}.resourceRules"))
    for name in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(name, ())):
            causes += _named_rule_causes(rule, f"{path}.{name}[{i}]")
    return causes


def _mutable_causes(match: Object, path: str) -> list[Cause]:
    """Return which operations of a match change nothing that could be mutated."""
    return [
        not_supported(f"{path}.resourceRules.operations", operation, _MUTABLE)
        for rule in match.get("resourceRules", ())
        for operation in rule.get("operations", ())
        if operation not in _MUTABLE
    ]


def place_of(spec: Object) -> frozenset[str]:
    """Return which variables a policy's expressions have beyond those that all have."""
    place = POLICY if spec.get("variables") else POLICY - {"variables"}
    return place | PARAMS if spec.get("paramKind") else place


def _variables(spec: Object, place: frozenset[str], declared: dict[str, str], *, mutating: bool) -> list[Cause]:
    """Return what is wrong with a policy's variables; `declared` gets their types."""
    causes: list[Cause] = []
    for i, variable in enumerate(spec.get("variables", ())):
        where, name = f"spec.variables[{i}]", variable.get("name", "")
        is_name = name.isascii() and name.isidentifier()
        if not name:
            causes.append(required(f"{where}.name", "name is not specified"))
        elif not is_name:
            causes.append(invalid_value(f"{where}.name", name, "must be a valid CEL identifier"))
        text = variable.get("expression", "")
        causes += expression_causes(f"{where}.expression", text, place, declared=declared, mutating=mutating)
        if is_name:
            known = checked(text, place, declared, mutating=mutating)[1] if text.strip() and available() else ""
            declared[name] = known or "dyn"
    return causes


def _message_causes(validation: Object, where: str) -> list[Cause]:
    message = validation.get("message", "")
    if message and not message.strip():
        return [invalid_value(f"{where}.message", message, "must be non-empty if specified")]
    if "\n" in message.strip():
        return [invalid_value(f"{where}.message", message, "must not contain line breaks")]
    if "\n" in validation.get("expression", "").strip() and not message.strip():
        return [required(f"{where}.message", "message must be specified if expression contains line breaks")]
    return []


def _param_kind(kind: Object, path: str) -> list[Cause]:
    version, name = kind.get("apiVersion", ""), kind.get("kind", "")
    causes: list[Cause] = []
    group, _, plain = version.rpartition("/")
    if not version:
        causes.append(required(f"{path}.apiVersion"))
    elif version.count("/") > 1:
        text = f"unexpected GroupVersion string: {version}"
        causes.append(invalid_value(f"{path}.apiVersion", version, text))
    else:
        wrong = problems_of_dns1123_subdomain(group) if group else []
        causes += [invalid_value(f"{path}.apiVersion", group, ",".join(wrong))] if wrong else []
        wrong = problems_of_dns1035_label(plain) if plain else []
        causes += [invalid_value(f"{path}.apiVersion", plain, ",".join(wrong))] if wrong else []
        if not plain:
            causes.append(invalid_value(f"{path}.apiVersion", version, "version must be specified"))
    if not name:
        return [*causes, required(f"{path}.kind")]
    wrong = problems_of_dns1035_label(name.lower())
    text = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
    return [*causes, invalid_value(f"{path}.kind", name, text)] if wrong else causes


def _annotations(spec: Object, name: str, place: frozenset[str], declared: dict[str, str]) -> list[Cause]:
    """Return what is wrong with the audit annotations of a policy of a name, which their keys are told by."""
    causes: list[Cause] = []
    for i, annotation in enumerate(spec.get("auditAnnotations", ())):
        where, key = f"spec.auditAnnotations[{i}]", annotation.get("key", "")
        if name:
            causes += qualified(f"{where}.key", f"{name}/{key}")
        else:
            causes.append(invalid_value(f"{where}.key", key, "requires metadata.name be non-empty"))
        text = annotation.get("valueExpression", "")
        if not text.strip():
            causes.append(required(f"{where}.valueExpression", "valueExpression is not specified"))
            continue
        if key in [earlier.get("key", "") for earlier in spec["auditAnnotations"][:i]]:
            causes.append(duplicate(f"{where}.key", key))
        causes += expression_causes(f"{where}.valueExpression", text, place, STRING, "null_type", declared=declared)
    return causes


def _validations(spec: Object, name: str, place: frozenset[str], declared: dict[str, str]) -> list[Cause]:
    validations, annotations = spec.get("validations", ()), spec.get("auditAnnotations", ())
    causes: list[Cause] = []
    if not validations and not annotations:
        text = "validations or auditAnnotations must contain at least one item"
        return [required("spec.validations", f"{text}"), required("spec.auditAnnotations", f"{text}")]
    for i, validation in enumerate(validations):
        where = f"spec.validations[{i}]"
        text = validation.get("expression", "")
        causes += expression_causes(f"{where}.expression", text, place, BOOL, declared=declared)
        causes += _message_causes(validation, where)
        message = validation.get("messageExpression", "")
        if message and not message.strip():
            causes.append(invalid_value(f"{where}.messageExpression", message, "must be non-empty if specified"))
        elif message:
            causes += expression_causes(
                f"{where}.messageExpression", message, place, STRING, declared=declared, authorized=False
            )
        reason = validation.get("reason")
        reasons = ("Forbidden", "Invalid", "RequestEntityTooLarge")
        if reason is not None and reason not in reasons:
            causes.append(not_supported(f"spec.validations[{i}].reason", reason, reasons))
    return causes + _annotations(spec, name, place, declared)


def _mutations(spec: Object, place: frozenset[str], declared: dict[str, str]) -> list[Cause]:
    mutations = spec.get("mutations", ())
    causes: list[Cause] = []
    if not mutations:
        causes = [required("spec.mutations", "mutations must contain at least one item")]
    for i, mutation in enumerate(mutations):
        causes += one_of(
            f"spec.mutations[{i}].patchType", mutation.get("patchType", ""), _PATCH_TYPES,
            needed=True,
        )  # fmt: skip
        for form, kind in (("applyConfiguration", MAP), ("jsonPatch", LIST)):
            where, given = f"spec.mutations[{i}].{form}", mutation.get(form)
            patch_type = mutation.get("patchType", "")
            wanted = patch_type.lower() == form.lower()
            if wanted and given is None:
                causes.append(required(where, f"must be specified when patchType is {patch_type}"))
            elif given is not None and not wanted and patch_type in _PATCH_TYPES:
                causes.append(forbidden_field(where, f"may not be specified when patchType is {patch_type}"))
            elif given is not None and wanted and not given.get("expression", "").strip():
                causes.append(required(f"{where}.expression"))
            elif given is not None and wanted:
                causes += expression_causes(
                    f"{where}.expression", given.get("expression", ""), place, kind, declared=declared, mutating=True
                )
    return causes + one_of(
        "spec.reinvocationPolicy", spec.get("reinvocationPolicy"), ("IfNeeded", "Never"), needed=True
    )


class AdmissionPolicyBindings(Kind):
    """ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding."""

    metadata_checks = "w"
    standard_finalizers = False
    unconditional_update = False
    has_generation = True

    def default(self, obj: Object) -> None:
        match = obj.setdefault("spec", {}).get("matchResources")
        if match is not None:
            _default_match(match)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = named("spec.policyName", spec.get("policyName", ""))
        reference = spec.get("paramRef")
        if reference is not None:
            causes += _param_ref(reference, "spec.paramRef")
        if "matchResources" in spec:
            causes += _match_causes(spec["matchResources"], "spec.matchResources")
            if not self.resource.kind.startswith("Validating"):
                causes += _mutable_causes(spec["matchResources"], "spec.matchResources")
        if self.resource.kind.startswith("Validating"):
            causes += _actions(spec.get("validationActions", []))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        reference, text = spec.get("paramRef"), _UNSET
        if reference is not None:
            namespace = reference.get("namespace")
            text = f"{namespace}/{reference.get('name', '*')}" if namespace else reference.get("name", "*")
        return [obj["metadata"]["name"], spec.get("policyName", ""), text, age(obj, now_s)]


def _param_ref(reference: Object, path: str) -> list[Cause]:
    name, selector, exclusive = (
        reference.get("name", ""),
        reference.get("selector"),
        "name and selector are mutually exclusive",
    )
    causes = [invalid_value(f"{path}.name", name, problem) for problem in problems_of_path_segment(name)]
    if name and selector is not None:
        causes.append(forbidden_field(f"{path}.name", exclusive))
    if selector is not None:
        causes += selector_causes(selector, f"{path}.selector")
        causes += [forbidden_field(f"{path}.selector", exclusive)] if name else []
    if not name and selector is None:
        causes.append(required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    return causes + one_of(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"), needed=True)


def _actions(actions: list[str]) -> list[Cause]:
    path = "spec.validationActions"
    if not actions:
        return [required(path, "at least one validation action is required")]
    causes: list[Cause] = []
    again = {i for i, _ in repeated(actions)}
    for i, action in enumerate(actions):
        causes += one_of(f"{path}[{i}]", action, _ACTIONS)
        if i in again:
            causes.append(duplicate(f"{path}[{i}]", action))
    if {"Deny", "Warn"} <= set(actions):
        text = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        causes.append(invalid_value(path, actions, text))
    return causes
