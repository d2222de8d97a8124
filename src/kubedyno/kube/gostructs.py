"""The Go structs behind the API's JSON: their members in the source's order, with their types and what is omitted.

JSON alone does not tell whether 0 and "" are values or nothing: a pointer to 0 is written, a plain 0 only where the
member is not `omitempty`. `data/gostructs.json` holds what the structs of Kubernetes 1.36 say: type → members, each
"Go name, JSON name, type, flags", where a JSON name of "+" stands for a struct whose members are those of the one that
holds it, "#" begins a struct's name in the vocabulary, "=" and "~" the names of
an item's and of a container's own type, and the flags are o (omitempty) and z (omitzero).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

# Structs with a JSON of their own, and what it is when nothing is set.
OWN_JSON: dict[str, Any] = {
    "api.resource.Quantity": "0",
    "util.intstr.IntOrString": 0,
    "meta.v1.Time": None,
    "meta.v1.MicroTime": None,
    "meta.v1.FieldsV1": None,
    "pkg.runtime.RawExtension": None,
}
_GO_TYPES = {"bytes": "[]uint8"}
# Zero values by Go's kinds.
SCALAR_ZEROS: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "float64": 0}
_FILE = Path(__file__).parent / "data" / "gostructs.json"
_EMBEDDED = "+"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a Go struct.

    Attributes:
        go_name: In the source.
        name: In JSON; "" for an embedded struct, whose members stand among these.
        pointer: Nil is nothing, so that a zero value is one.
        container: "l" a list, "m" a map, "" neither.
        struct: The struct's name in the vocabulary, "" for a scalar; of a list or map: of its items.
        scalar: Go's kind: "string", "bool", "int32", "int64", "float64", "bytes", "list" (a list inside a map), "" for
            a struct; of a list or map: of its items.
        text: The type as Go prints it, without the pointer: "[]v1.Container", "v1.RestartPolicy".
        omitempty: A zero value that is no struct is not written.
        omitzero: A zero value is not written.
    """

    go_name: str
    name: str
    pointer: bool
    container: str
    struct: str
    scalar: str
    text: str
    omitempty: bool
    omitzero: bool

    @property
    def written_when_zero(self) -> bool:
        """Whether JSON has it even when nothing is set."""
        if self.pointer or self.omitzero:
            return False
        return not self.omitempty or bool(self.struct and not self.container)


@cache
def _table() -> dict[str, str]:
    table: dict[str, str] = orjson.loads(_FILE.read_bytes())
    return table


@cache
def members_of(struct: str) -> tuple[Member, ...]:
    """Return a struct's members in the source's order, embedded structs as one each; () when it is not known."""
    text = _table().get(struct)
    return tuple(_member(part) for part in text.split("; ")) if text else ()


@cache
def json_members_of(struct: str) -> dict[str, Member]:
    """Return a struct's members by their names in JSON, with those of embedded structs; {} when it is not known."""
    found: dict[str, Member] = {}
    for member in members_of(struct):
        found |= {member.name: member} if member.name else json_members_of(member.struct)
    return found


def go_path(struct: str, path: str) -> str:
    """Return a path by JSON's names as Go tells it: with the names of the embedded structs on the way.

    Args:
        struct: Where it begins.
        path: Names with points between them, without indexes and keys.
    """
    found: list[str] = []
    for name in path.split("."):
        way, struct = _way_to(struct, name)
        found += [*way, name]
    return ".".join(found)


def _way_to(struct: str, name: str) -> tuple[list[str], str]:
    """Return the embedded structs on the way to a member of a struct, and the struct that the member is."""
    for member in members_of(struct):
        if member.name == name:
            return [], member.struct
    for member in members_of(struct):
        if not member.name and name in json_members_of(member.struct):
            way, inner = _way_to(member.struct, name)
            return [member.go_name, *way], inner
    return [], ""


def zero_of(member: Member, *, containers: bool = True) -> Any:
    """Return a member's zero value in JSON, fresh; see `zero`."""
    if member.container:
        return None
    if not member.struct:
        return SCALAR_ZEROS.get(member.scalar)
    return OWN_JSON[member.struct] if member.struct in OWN_JSON else zero(member.struct, containers=containers)


def zero(struct: str, *, containers: bool = True) -> dict[str, Any]:
    """Return the JSON of a struct in which nothing is set.

    Args:
        struct: Its name in the vocabulary.
        containers: With null for the lists and maps that are written even then.
    """
    return {
        member.name: zero_of(member, containers=containers)
        for member in json_members_of(struct).values()
        if member.written_when_zero and (containers or not member.container)
    }


# Members that stand elsewhere in the internal struct: struct → each with the one that it follows there.
_OTHER_PLACES = {"core.v1.PersistentVolumeSpec": (("quobyte", "rbd"), ("flexVolume", "iscsi"))}


def shown(struct: str, value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a struct as JSON of the server's internal one, which field errors print: all of Go's members by Go's names.

    Args:
        struct: Its name in the vocabulary; the internal one has the same members in the same order.
        value: As decoded; None for a nil pointer.
    """
    if value is None:
        return None
    members = json_members_of(struct)
    names = list(members)
    for name, before in _OTHER_PLACES.get(struct, ()):
        names.remove(name)
        names.insert(names.index(before) + 1, name)
    return {members[name].go_name: _shown(members[name], value.get(name)) for name in names}


def ordered(struct: str, value: Any) -> Any:
    """Return a struct's JSON as Go writes it: members in the source's order, maps by their keys, without what is empty.

    Args:
        struct: Its name in the vocabulary; "" for a map or scalar.
        value: As decoded; what is no mapping comes back as it is.
    """
    if not isinstance(value, dict) or struct in OWN_JSON:
        return value
    members = json_members_of(struct)
    if not members:
        return dict(sorted(value.items()))
    return {
        name: _in_order(member, value[name])
        for name, member in members.items()
        if name in value and (value[name] or not member.container or not member.omitempty)
    }


def _in_order(member: Member, value: Any) -> Any:
    if member.container == "l" and isinstance(value, list):
        return [ordered(member.struct, item) for item in value] if member.struct else value
    if member.container == "m" and isinstance(value, dict):
        return {key: ordered(member.struct, item) for key, item in sorted(value.items())}
    return ordered(member.struct, value) if member.struct else value


def _shown(member: Member, value: Any) -> Any:
    if value is None:
        return (
            None
            if member.pointer or member.container
            else zero_of(member)
            if _plain(member)
            else shown(member.struct, {})
        )
    if _plain(member):
        return _in_order(member, value)
    if member.container == "l":
        return [shown(member.struct, item) for item in value]
    return (
        {key: shown(member.struct, item) for key, item in sorted(value.items())}
        if member.container
        else shown(member.struct, value)
    )


def _plain(member: Member) -> bool:
    """Say whether JSON shows a member as it is: no struct in it has internal names."""
    return not member.struct or member.struct in OWN_JSON or member.struct.startswith("meta.v1.")


def _member(text: str) -> Member:
    go_name, name, declared, *flags = text.split(" ")
    pointer = declared.startswith("*")
    declared, _, container_name = declared.removeprefix("*").partition("~")
    item, container = declared, ""
    if declared.startswith("[]"):
        item, container = declared[2:], "l"
    elif declared.startswith("map["):
        item, container = declared[declared.index("]") + 1 :], "m"
    before = declared.removesuffix(item)
    item, _, item_name = item.partition("=")
    struct = item[1:] if item.startswith("#") else ""
    nested = item.startswith("[]")
    item_name = item_name or (
        ".".join(struct.split(".")[-2:]) if struct else container_name if nested else _GO_TYPES.get(item, item)
    )
    flag = flags[0] if flags else ""
    return Member(
        go_name,
        "" if name == _EMBEDDED else name,
        pointer,
        container,
        struct,
        "" if struct else "list" if nested else item,
        (container_name if not nested else "") or before + item_name,
        "o" in flag,
        "z" in flag,
    )
