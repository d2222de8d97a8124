"""Content negotiation: what form an answer takes, by the Accept header.

A form is a medium (JSON, YAML, protobuf) and a shape (the object itself, a Table, its metadata alone).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from kubedyno.cluster.apiserver.queries import is_pretty
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import NotAcceptable

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

OBJECT = "Object"
TABLE = "Table"
METADATA = "PartialObjectMetadata"

# As the real server says it of a custom resource.
ALL_MEDIA = f"{JSON}, {YAML}, {PROTOBUF}"
_COLLECTION_MEDIA = f"{ALL_MEDIA}, {JSON};stream=watch, {PROTOBUF};stream=watch"
_METADATA_LIST = "PartialObjectMetadataList"
_SHAPES = {"Table": TABLE, "PartialObjectMetadata": METADATA, _METADATA_LIST: METADATA}
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


def form_of(
    headers: Mapping[str, str], pretty: str | None = None, *, collection: bool = False, messages: bool = True
) -> Form:
    """Return the form that the client prefers among those we have.

    Args:
        headers: Of the request, lower-case.
        pretty: The query parameter, None when not given.
        collection: The path is a collection, whose 406 lists more types.
        messages: The objects have a protobuf form; their metadata always has.

    Raises:
        NotAcceptable: None will do.
    """
    accept = headers.get("accept", "")
    human = headers.get("user-agent", "").startswith(_HUMAN_AGENTS) if pretty is None else is_pretty(pretty)
    form = _negotiate(accept, human, messages)
    if form is None and not messages and _negotiate(accept, human, True) is not None:
        raise NotAcceptable(f"only the following media types are accepted: {ALL_MEDIA}")
    if form is None and ";as=" in accept.replace(" ", ""):
        raise NotAcceptable(f"only the following media types are accepted: {ALL_MEDIA}")
    if form is None:
        listed = _COLLECTION_MEDIA if collection else ALL_MEDIA
        raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {listed}", {})
    return form


def form_of_error(headers: Mapping[str, str], pretty: str | None) -> Form | None:
    """Return how a Status looks that is no success: never as another shape; None where only such ones were asked for."""
    accept = headers.get("accept", "")
    human = headers.get("user-agent", "").startswith(_HUMAN_AGENTS) if pretty is None else is_pretty(pretty)
    return _negotiate(accept, human, True, shapes=False)


def check_shape(form: Form, resource: Resource, *, listed: bool) -> None:
    """Check that metadata of an object is asked of an object, and that of a list of a list.

    Args:
        form: What is asked for.
        resource: Of what.
        listed: Of a list of them.

    Raises:
        NotAcceptable: It is the other way round.
    """
    if not form.wanted or (form.wanted == _METADATA_LIST) is listed:
        return
    package = resource.group.partition(".")[0] or "core"
    shown = f"(*{'core' if package == 'events' else package}.{resource.kind}{'List' if listed else ''})"
    what = "a list" if listed else "not a list"
    raise NotAcceptable(f"you requested {form.wanted}, but the requested object is {what} {shown}")


def check_routed(headers: Mapping[str, str], offered: tuple[str, ...]) -> None:
    """Check that a client takes one of the media types of a route, whatever their parameters.

    Raises:
        NotAcceptable: It takes none.
    """
    accept = headers.get("accept", "")
    if accept.strip() and not any(media in {"*/*", *offered} for media, _ in clauses(accept)):
        raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}", {})


_ROUTED = frozenset({"*/*", JSON, YAML, PROTOBUF})


@lru_cache(maxsize=1024)
def _negotiate(accept: str, pretty: bool, messages: bool, *, shapes: bool = True) -> Form | None:
    if not accept.strip():
        return Form(pretty=pretty)
    found = clauses(accept)
    if shapes and not any(media in _ROUTED for media, _ in found):
        # "application/*" alone does not even find a route.
        return None
    for media, parameters in found:
        if not shapes and "as" in parameters:
            continue
        form = _form(media, parameters, pretty)
        if form is not None and (messages or form.media is not PROTOBUF or form.shape is not OBJECT):
            return form
    return None


def _form(media: str, parameters: Mapping[str, str], pretty: bool) -> Form | None:
    if media in {"*/*", "application/*", JSON}:
        chosen = JSON
    elif media in {YAML, "application/x-yaml"}:
        chosen = YAML
    elif media == PROTOBUF:
        chosen = PROTOBUF
    else:
        return None
    shape, version = OBJECT, "v1"
    wanted = parameters.get("as")
    if wanted is not None:
        version = parameters.get("v", "")
        if wanted not in _SHAPES or version not in _META_VERSIONS or parameters.get("g") != "meta.k8s.io":
            return None
        shape = _SHAPES[wanted]
        if shape is TABLE and chosen is PROTOBUF:
            return None
    called = wanted if wanted is not None and shape is METADATA else ""
    return Form(chosen, shape, version, pretty and chosen is JSON, called)


def clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Return the header's (media type, parameters), best first; equal ones in the order given."""
    ranked: list[tuple[float, int, str, dict[str, str]]] = []
    for position, clause in enumerate(accept.split(",")):
        media, *rest = (part.strip() for part in clause.split(";"))
        parameters = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in rest)}
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > 0:
            ranked.append((-quality, position, media.lower(), parameters))
    return [(media, parameters) for _, _, media, parameters in sorted(ranked, key=lambda item: item[:2])]
