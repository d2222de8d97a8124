"""Query strings to frozen options, with the real server's texts for what is wrong with them."""

from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import parse_qsl

from kubedyno.kube.resources import Resource
from kubedyno.kube.selectors import FieldSelector, LabelSelector
from kubedyno.kube.status import (
    BadRequest,
    Cause,
    Invalid,
    StatusError,
    forbidden_field,
    invalid,
    invalid_value,
    not_supported,
    required,
)
from kubedyno.kube.strconv import parse_int, parse_uint

_META = "meta.k8s.io"
_EVERY_LABEL = LabelSelector.parse("")
_EVERY_FIELD = FieldSelector.parse("")
_MAX_MANAGER_LENGTH = 128


@lru_cache(maxsize=4096)
def parameters(query: str) -> dict[str, str]:
    """Return the first value of each parameter. Shared: never change it."""
    found: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(key, value)
    return found


def values_of(query: str, name: str) -> list[str]:
    """Return all values of a parameter. Cheap where its name does not occur."""
    return [value for key, value in parse_qsl(query, keep_blank_values=True) if key == name] if name in query else []


def invalid_options(kind: str, *causes: Cause) -> Invalid:
    """Return the 422 of options, e.g. `ListOptions.meta.k8s.io "" is invalid: …`."""
    return invalid(Resource(_META, "v1", kind.lower(), kind, namespaced=False), "", list(causes))


def is_true(text: str | None) -> bool:
    """Return Go's reading of a boolean parameter: one that is there is true unless it says false or 0, also an empty one."""
    return text is not None and text.lower() not in {"false", "0"}


def asks_for(query: str, name: str) -> bool:
    """Say whether a query has a boolean parameter that is true. Cheap where its name does not occur."""
    return name in query and is_true(parameters(query).get(name))


def is_pretty(text: str | None) -> bool:
    """Return whether `pretty` asks for indented JSON: Go's ParseBool, and what it cannot read is false."""
    return text in {"1", "t", "T", "TRUE", "true", "True"}


def _int(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_int(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def revision_of(text: str) -> tuple[int, str]:
    """Return the revision that a text is, 0 where it is none, and what is wrong with it then."""
    try:
        return parse_uint(text or "0"), ""
    except ValueError as error:
        return 0, str(invalid_value("resourceVersion", text, str(error)))


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What to list or to watch.

    Attributes:
        labels: Label selector.
        fields: Field selector.
        watch: Watch, rather than list.
        bookmarks: BOOKMARK events are welcome.
        initial_events: Begin a watch with what is there; None leaves it to `revision`.
        revision_text: The parameter as given; "" when not.
        revision: Its number; 0 when not given.
        no_revision: Why it is none; see `check_revision`.
        revision_match: "", "Exact" or "NotOlderThan".
        limit: Objects at most; 0 for no limit.
        continue_token: Where an earlier list ended.
        timeout_s: End the request after so long; None when not given.
        include_object: What a Table's rows carry, as given; see `include_object_of`.
        pretty: The parameter; None when not given.
    """

    labels: LabelSelector = _EVERY_LABEL
    fields: FieldSelector = _EVERY_FIELD
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    revision_text: str = ""
    revision: int = 0
    no_revision: str = ""
    revision_match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout_s: int | None = None
    include_object: str = ""
    pretty: str | None = None

    @property
    def selective(self) -> bool:
        """True when some selector is set."""
        return not self.labels.empty or bool(self.fields.terms)

    def check_revision(self) -> None:
        """Check that the revision is one: what is asked for is looked at before that.

        Raises:
            StatusError: It is none.
        """
        if self.no_revision:
            if self.watch:
                # Not a 400: the real server's watch path forgets to wrap this one.
                raise StatusError(self.no_revision, code=500, reason="")
            raise BadRequest(f"invalid resource version: {self.no_revision}")

    def named(self, name: str) -> "ListOptions":
        """Return the options of a path that names one object of a collection.

        Raises:
            BadRequest: They select others.
        """
        if not self.fields.terms:
            return replace(self, fields=FieldSelector((("metadata.name", "=", name),)))
        if self.fields.value_of("metadata.name") != name:
            raise BadRequest("fieldSelector metadata.name doesn't match requested name")
        return self


def list_options(query: str, *, watched: bool = False) -> ListOptions:
    """Parse the options of GET on a collection, and check that they go together.

    Args:
        query: Raw query string.
        watched: The path asks for a watch. Unless the query does, too, they are checked as a list's.

    Raises:
        StatusError: As the real server answers.
    """
    options = decoded_list_options(query)
    causes = _watch_causes(options) if options.watch else _list_causes(options)
    if causes:
        raise invalid_options("ListOptions", *causes)
    return replace(options, watch=True) if watched and not options.watch else options


@lru_cache(maxsize=2048)
def decoded_list_options(query: str) -> ListOptions:
    """Parse the options of GET on a collection.

    Raises:
        BadRequest: A number or a selector is none.
    """
    given = parameters(query)
    timeout_s = _int(given.get("timeoutSeconds"))
    limit = _int(given.get("limit")) or 0
    try:
        labels = LabelSelector.parse(given.get("labelSelector", ""))
        fields = FieldSelector.parse(given.get("fieldSelector", ""))
    except ValueError as error:
        raise BadRequest(str(error)) from None
    watch = is_true(given.get("watch"))
    initial_events = is_true(given["sendInitialEvents"]) if "sendInitialEvents" in given else None
    revision_text, match = given.get("resourceVersion", ""), given.get("resourceVersionMatch", "")
    if watch and initial_events is None and not match and revision_text in {"", "0"}:
        # What a watch from no certain revision on has always begun with (SetListOptionsDefaults of apimachinery).
        initial_events, match = True, "NotOlderThan"
    revision, no_revision = revision_of(revision_text)
    return ListOptions(
        labels=labels,
        fields=fields,
        watch=watch,
        bookmarks=is_true(given.get("allowWatchBookmarks")),
        initial_events=initial_events,
        revision_text=revision_text,
        revision=revision,
        no_revision=no_revision,
        revision_match=match,
        limit=max(limit, 0),
        continue_token=given.get("continue", ""),
        timeout_s=timeout_s,
        include_object=given.get("includeObject", ""),
        pretty=given.get("pretty"),
    )


def include_object_of(text: str) -> str:
    """Return what a Table's rows are to carry.

    Raises:
        BadRequest: Nothing that is known.
    """
    if text in {"", "Metadata", "Object", "None"}:
        return text or "Metadata"
    cause = invalid_value("includeObject", text, "must be 'Metadata', 'Object', 'None', or empty")
    raise BadRequest(f"Unable to convert to Table as requested: {cause}")


_MATCH = "resourceVersionMatch"


def _watch_causes(options: ListOptions) -> list[Cause]:
    """Return what is wrong with the combination of a watch's options (ValidateListOptions of apimachinery)."""
    match, causes = options.revision_match, []
    if options.initial_events is not None and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(forbidden_field(_MATCH, text))
    if match:
        if options.initial_events is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(forbidden_field(_MATCH, text))
        if match != "NotOlderThan":
            causes.append(not_supported(_MATCH, match, ("NotOlderThan",)))
        if options.continue_token:
            causes.append(forbidden_field(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _list_causes(options: ListOptions) -> list[Cause]:
    """Return what is wrong with the combination of a list's options."""
    match, causes = options.revision_match, []
    if match:
        if not options.revision_text:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(forbidden_field(_MATCH, text))
        if options.continue_token:
            causes.append(forbidden_field(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes.append(not_supported(_MATCH, match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and options.revision_text == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(forbidden_field(_MATCH, text))
    if options.initial_events is not None:
        causes.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options of a create, update or patch.

    Attributes:
        dry_run: Do everything but store it.
        field_manager: Who to name in managedFields; "" leaves it to the user agent.
        field_validation: "Ignore", "Warn" or "Strict".
        force: Of a server-side apply.
        pretty: The parameter; None when not given.
    """

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool = False
    pretty: str | None = None


@lru_cache(maxsize=2048)
def write_options(query: str, kind: str) -> WriteOptions:
    """Parse the options of a write.

    Args:
        query: Raw query string.
        kind: "CreateOptions", "UpdateOptions" or "PatchOptions", for the error text.

    Raises:
        Invalid: As the real server answers.
    """
    if not query:
        return WriteOptions()
    given = parameters(query)
    manager = given.get("fieldManager", "")
    validation = given.get("fieldValidation") or "Warn"
    if len(manager) > _MAX_MANAGER_LENGTH:
        raise invalid_options(
            kind,
            Cause("FieldValueTooLong", "fieldManager", f"Too long: may not be more than {_MAX_MANAGER_LENGTH} bytes"),
        )
    if not manager.isprintable():
        at = next(i for i, character in enumerate(manager) if not character.isprintable())
        why = f"invalid character U+{ord(manager[at]):04X} (at position {len(manager[:at].encode())})"
        raise invalid_options(kind, invalid_value("fieldManager", manager, why))
    if validation not in {"Ignore", "Warn", "Strict"}:
        raise invalid_options(kind, not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    return WriteOptions(
        dry_run=_dry_run(values_of(query, "dryRun"), kind),
        field_manager=manager,
        field_validation=validation,
        force=is_true(given.get("force")),
        pretty=given.get("pretty"),
    )


@lru_cache(maxsize=2048)
def manager_name(field_manager: str, user_agent: str) -> str:
    """Return who owns what a request writes: the one that it names, else what its user agent begins with."""
    if field_manager:
        return field_manager
    name = "".join(character for character in user_agent.partition("/")[0] if character.isprintable())
    return name.encode()[:_MAX_MANAGER_LENGTH].decode(errors="ignore")


def patch_options(query: str, *, apply: bool) -> WriteOptions:
    """Parse the options of a patch.

    Args:
        query: Raw query string.
        apply: It is a server-side apply.

    Raises:
        Invalid: As the real server answers.
    """
    options = write_options(query, "PatchOptions")
    if apply and not options.field_manager:
        raise invalid_options("PatchOptions", required("fieldManager", "is required for apply patch"))
    if not apply and "force" in parameters(query):
        raise invalid_options("PatchOptions", forbidden_field("force", "may not be specified for non-apply patch"))
    return options


def _dry_run(values: list[str], kind: str) -> bool:
    if any(value != "All" for value in values):
        raise invalid_options(kind, not_supported("dryRun", values, ("All",)))
    return bool(values)


_POLICIES = ("Foreground", "Background", "Orphan")


def delete_options(query: str, body: object) -> dict[str, object]:
    """Return metav1.DeleteOptions of a DELETE, from its body or else from the query, checked.

    Args:
        query: Raw query string.
        body: Decoded body; None when there was none.

    Raises:
        StatusError: As the real server answers.
    """
    options: dict[str, object] = {}
    # A body makes the query count for nothing.
    given = parameters(query) if body is None else {}
    if isinstance(body, dict):
        options = {key: value for key, value in body.items() if key not in {"kind", "apiVersion"}}
    if "dryRun" in given:
        options["dryRun"] = values_of(query, "dryRun")
    if "gracePeriodSeconds" in given:
        options["gracePeriodSeconds"] = _int(given["gracePeriodSeconds"])
    if "propagationPolicy" in given:
        options["propagationPolicy"] = given["propagationPolicy"]
    if "orphanDependents" in given:
        options["orphanDependents"] = is_true(given["orphanDependents"])
    dry_run = options.get("dryRun")
    _dry_run([str(value) for value in dry_run] if isinstance(dry_run, list) else [], "DeleteOptions")
    policy = options.get("propagationPolicy")
    if policy is not None and policy not in _POLICIES:
        raise invalid_options("DeleteOptions", not_supported("propagationPolicy", policy, (*_POLICIES, "nil")))
    if policy is not None and options.get("orphanDependents") is not None:
        raise invalid_options(
            "DeleteOptions",
            invalid_value("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"),
        )
    return options
