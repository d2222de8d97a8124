"""Content negotiation: what form an answer takes, by the Accept header.

A form is a medium (JSON, YAML, protobuf) and a shape (the object itself, a Table, its metadata alone). The header is read
as Go's server reads it: a route is found by media types as they are written, then `choose` goes through the clauses, the
best first, and takes the first one that what is asked for there allows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from kubedyno.cluster.apiserver.queries import is_pretty
from kubedyno.kube.status import NotAcceptable

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

OBJECT = "Object"
TABLE = "Table"
METADATA = "PartialObjectMetadata"

MEDIA = (JSON, YAML, PROTOBUF)
# What routes of collections and of logs say that they have.
COLLECTION_MEDIA = (*MEDIA, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")
LOG_MEDIA = ("text/plain", *MEDIA)
METADATA_LIST = "PartialObjectMetadataList"
_SHAPES = {"Table": TABLE, "PartialObjectMetadata": METADATA, METADATA_LIST: METADATA}
_META_GROUP = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
# Whose user sits before a terminal or a browser: they get indented JSON unless they say otherwise.
_HUMAN_AGENTS = ("curl", "Wget", "Mozilla/")


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer looks.

    Attributes:
        media: One of JSON, YAML, PROTOBUF.
        shape: One of OBJECT, TABLE, METADATA.
        version: Of meta.k8s.io, for a Table or metadata.
        pretty: Indented JSON.
        wanted: What the client called the shape: metadata of an object, or of a list.
    """

    media: str = JSON
    shape: str = OBJECT
    version: str = "v1"
    pretty: bool = False
    wanted: str = ""

    @property
    def plain(self) -> bool:
        """True for objects as compact JSON: what nearly everybody asks for."""
        return self.media is JSON and self.shape is OBJECT and not self.pretty


PLAIN = Form()


@dataclass(frozen=True, slots=True)
class Choice:
    """A clause of an Accept header, read for one of the media types that are offered.

    Attributes:
        media: One of those offered.
        convert: Group, version and kind of the shape that is asked for; None for the object itself.
        stream: What is asked for is a stream of that sort, "" when nothing is said.
        pretty: Indented, if the medium knows that.
    """

    media: str
    convert: tuple[str, str, str] | None = None
    stream: str = ""
    pretty: bool = False


Allows = Callable[[Choice], bool]


def unconverted(choice: Choice) -> bool:
    """Allow objects themselves: what holds of errors, and where nothing else is said."""
    return choice.convert is None


def choose(accept: str, offered: tuple[str, ...], allows: Allows = unconverted) -> Choice | None:
    """Return what a client likes best of what is offered; None when nothing will do.

    Args:
        accept: The header; "" takes anything.
        offered: Media types, ours first.
        allows: Says whether an offered type can be had in what is asked for.
    """
    if not accept:
        return Choice(offered[0])
    for media, parameters in clauses(accept):
        kind, _, sub = media.partition("/")
        for offer in offered:
            if media in {offer, "*/*"} or (sub == "*" and offer.startswith(f"{kind}/")):
                choice = _read(offer, parameters)
                # No stream of YAML is known, and no sort of stream besides a watch.
                streams = not choice.stream or (choice.stream == "watch" and offer in {JSON, PROTOBUF})
                if streams and not parameters.get("sv") and allows(choice):
                    return choice
    return None


def _read(media: str, parameters: Mapping[str, str]) -> Choice:
    convert = None
    if not parameters.keys().isdisjoint(("as", "g", "v")):
        convert = (parameters.get("g", ""), parameters.get("v", ""), parameters.get("as", ""))
    return Choice(media, convert, parameters.get("stream", ""), parameters.get("pretty") == "1")


def form_of(
    headers: Mapping[str, str],
    pretty: str | None = None,
    *,
    route: tuple[str, ...] = MEDIA,
    messages: bool = True,
    tables: bool = True,
) -> Form:
    """Return the form that the client prefers among those we have.

    Args:
        headers: Of the request, lower-case.
        pretty: The query parameter, None when not given.
        route: What the path's route says that it has; () where it is none, as those of custom resources.
        messages: The objects have a protobuf form; their metadata always has.
        tables: What is answered can be shown as a Table.

    Raises:
        NotAcceptable: None will do.
    """
    accept = headers.get("accept", "")
    form = _negotiate(accept, _is_human(headers, pretty), route, messages, tables)
    if form is None:
        check_routed(headers, route)
        raise not_acceptable()
    return form


def not_acceptable(offered: tuple[str, ...] = MEDIA) -> NotAcceptable:
    """Return the 406 of a handler that has other media types."""
    return NotAcceptable(f"only the following media types are accepted: {', '.join(offered)}")


def form_of_error(headers: Mapping[str, str], pretty: str | None) -> Form | None:
    """Return how a Status looks that is no success: never as another shape; None where only such ones were asked for."""
    choice = choose(headers.get("accept", ""), MEDIA)
    return None if choice is None else document_form(choice, headers, pretty)


def document_form(choice: Choice, headers: Mapping[str, str], pretty: str | None) -> Form:
    """Return how a document looks for which something has been chosen.

    Args:
        choice: Which medium.
        headers: Of the request, lower-case.
        pretty: The query parameter, None when not given.
    """
    return Form(choice.media, pretty=(choice.pretty or _is_human(headers, pretty)) and choice.media == JSON)


def _is_human(headers: Mapping[str, str], pretty: str | None) -> bool:
    if pretty is None:
        return headers.get("user-agent", "").startswith(_HUMAN_AGENTS)
    return is_pretty(pretty)


def check_shape(form: Form, go_type: str, *, listed: bool = False) -> None:
    """Check that metadata of an object is asked of an object, and that of a list of a list.

    Args:
        form: What is asked for.
        go_type: Of what, as Go calls it: "core.ConfigMap".
        listed: It is a list.

    Raises:
        NotAcceptable: It is the other way round.
    """
    if form.wanted and (form.wanted == METADATA_LIST) is not listed:
        what = "a list" if listed else "not a list"
        raise NotAcceptable(f"you requested {form.wanted}, but the requested object is {what} (*{go_type})")


def is_routed(accept: str, offered: tuple[str, ...]) -> bool:
    """Say whether a client takes one of the media types of a route, if it is one, as written, whatever their parameters."""
    if not accept or not offered:
        return True
    return any(clause.partition(";")[0].strip() in {"*/*", *offered} for clause in accept.split(","))


def check_routed(headers: Mapping[str, str], offered: tuple[str, ...]) -> None:
    """Check that a client takes one of the media types of a route.

    Raises:
        NotAcceptable: It takes none.
    """
    if not is_routed(headers.get("accept", ""), offered):
        raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}", {})


@lru_cache(maxsize=1024)
def _negotiate(accept: str, pretty: bool, route: tuple[str, ...], messages: bool, tables: bool) -> Form | None:
    if not is_routed(accept, route):
        # "application/*" alone does not even find a route.
        return None
    choice = choose(accept, MEDIA, partial(_is_had, messages, tables))
    if choice is None:
        return None
    indented = (pretty or choice.pretty) and choice.media == JSON
    if choice.convert is None:
        return Form(choice.media, pretty=indented)
    _, version, wanted = choice.convert
    shape = _SHAPES[wanted]
    return Form(choice.media, shape, version, indented, wanted if shape is METADATA else "")


def _is_had(messages: bool, tables: bool, choice: Choice) -> bool:
    if choice.convert is None:
        return messages or choice.media != PROTOBUF
    group, version, kind = choice.convert
    if group != _META_GROUP or version not in _META_VERSIONS or kind not in _SHAPES:
        return False
    return kind != TABLE or (tables and choice.media != PROTOBUF)


@lru_cache(maxsize=1024)
def clauses(accept: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Return the header's (media type, parameters), best first; as Go's `goautoneg` reads and sorts them."""
    found: list[tuple[float, str, dict[str, str]]] = []
    for clause in accept.split(","):
        media, *rest = clause.split(";")
        kind, slash, sub = media.partition("/")
        kind, sub = kind.strip(), sub.strip()
        if not slash or not sub:
            if kind != "*":
                continue
            sub = "*"
        if "/" in sub:
            continue
        quality, parameters = 1.0, {}
        for part in rest:
            name, _, value = part.partition("=")
            if not value or "=" in value:
                continue
            if name.strip() == "q":
                quality = _quality(value)
            else:
                parameters[name.strip()] = value.strip()
        found.append((quality, f"{kind}/{sub}", parameters))
        at = len(found) - 1
        while at and _before(found[at], found[at - 1]):
            found[at - 1], found[at] = found[at], found[at - 1]
            at -= 1
    return tuple((media, parameters) for _, media, parameters in found)


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _before(one: tuple[float, str, Mapping[str, str]], other: tuple[float, str, Mapping[str, str]]) -> bool:
    """Say whether a clause goes before the one in front of it: for its quality, or as it names what that leaves open."""
    if one[0] > other[0]:
        return True
    (kind, _, sub), (other_kind, _, other_sub) = one[1].partition("/"), other[1].partition("/")
    return (kind != "*" and other_kind == "*") or (sub != "*" and other_sub == "*")
