"""Hashes of objects as Go's controllers take them: 32-bit FNV-1a over the print of a struct, with all its members.

The print of a pod template is some thousands of bytes, nearly all of them the names and types of members that are not
set. FNV's low byte goes its own way, whatever the other three are: what a fixed piece of print does to a hash is known
from that byte alone, and remembered. So a hash costs as much as what is set.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from kubedyno.kube.gostructs import Member, members_of
from kubedyno.kube.names import safe_encode

_BASIS, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_QUANTITY = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+)|([KMGTPE]i)|([numkMGTPE]?))\Z")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NO_TIME = "{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}"


class _Literal:
    """A fixed piece of print, and what it does to hashes."""

    __slots__ = ("_after", "_power", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._power = pow(_PRIME, len(text), 1 << 32)
        # Low byte of a hash → what that byte alone becomes.
        self._after: dict[int, int] = {}

    def __call__(self, value: int) -> int:
        low = value & 0xFF
        after = self._after.get(low)
        if after is None:
            after = self._after[low] = _fnv1a(self.text.encode(), low)
        return (after + (value - low) * self._power) & _MASK


# A piece of print: fixed, or of a value.
_Piece = _Literal | str
# (value, pieces): prints a value.
_Print = Callable[[Any, list[_Piece]], None]


def _fnv1a(data: bytes, value: int = _BASIS) -> int:
    for byte in data:
        value = ((value ^ byte) * _PRIME) & _MASK
    return value


def pod_template_hash(template: dict[str, Any], collisions: int | None = None) -> str:
    """Return the hash that names a template's ReplicaSet, e.g. "6bcd64c5d4".

    Args:
        template: A PodTemplateSpec as it is stored.
        collisions: The owner's collisionCount; None when it has none.
    """
    value = _BASIS
    for piece in _pieces("core.v1.PodTemplateSpec", template):
        value = piece(value) if isinstance(piece, _Literal) else _fnv1a(piece.encode(), value)
    if collisions is not None:
        value = _fnv1a(collisions.to_bytes(4, "little") + bytes(4), value)
    return safe_encode(str(value))


def revision_hash(data: bytes, collisions: int | None = None) -> str:
    """Return the hash that names a StatefulSet's revision: FNV-1, which multiplies first, over its JSON.

    Args:
        data: As it is stored.
        collisions: The owner's collisionCount; None when it has none.
    """
    value = _BASIS
    for byte in data + (b"" if collisions is None else str(collisions).encode()):
        value = ((value * _PRIME) & _MASK) ^ byte
    return safe_encode(str(value))


@lru_cache(maxsize=1024)
def print_hash(text: str) -> int:
    """Return 128-bit FNV-1a of a print: what controllers put things in order by that have none."""
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in text.encode():
        value = ((value ^ byte) * 0x0000000001000000000000000000013B) & (1 << 128) - 1
    return value


def printed(struct: str, value: dict[str, Any]) -> str:
    """Return an object as Go prints it for a hash: "(v1.EndpointPort){Name:(string)dns Port:(int32)53 …}"."""
    return "".join([piece.text if isinstance(piece, _Literal) else piece for piece in _pieces(struct, value)])


def _pieces(struct: str, value: dict[str, Any]) -> list[_Piece]:
    pieces: list[_Piece] = [_opening(struct)]
    _print_struct(struct)(value, pieces)
    return pieces


@cache
def _opening(struct: str) -> _Literal:
    return _Literal(f"({'.'.join(struct.split('.')[-2:])})")


@cache
def _print_struct(struct: str) -> _Print:
    """Return what prints the values of a struct; where the same members are set, the same pieces are fixed."""

    def print_(value: dict[str, Any], pieces: list[_Piece]) -> None:
        for step in _steps(struct, tuple(value)):
            if isinstance(step, _Literal):
                pieces.append(step)
            else:
                name, show = step
                member = value[name]
                if member is None:
                    pieces.append("<nil>")
                else:
                    show(member, pieces)

    return print_


# Bounded: clients may write members in any order, and leave out any of them.
@lru_cache(maxsize=2048)
def _steps(struct: str, names: tuple[str, ...]) -> list[_Literal | tuple[str, _Print]]:
    return _joined(_plan(struct, frozenset(names)))


def _plan(struct: str, names: frozenset[str]) -> list[str | tuple[str, _Print]]:
    """Return how a struct with these members set is printed: fixed texts, and members with their printers."""
    steps: list[str | tuple[str, _Print]] = []
    for member in members_of(struct):
        steps.append(f"{' ' if steps else '{'}{member.go_name}:({'*' if member.pointer else ''}{member.text})")
        if not member.name:
            steps += _plan(member.struct, names)
        elif member.name in names:
            steps.append((member.name, _printer(member)))
        else:
            steps.append(_unset(member))
    return [*steps, "}"] if steps else ["{}"]


def _joined(steps: list[str | tuple[str, _Print]]) -> list[_Literal | tuple[str, _Print]]:
    joined: list[_Literal | tuple[str, _Print]] = []
    text = ""
    for step in steps:
        if isinstance(step, str):
            text += step
        else:
            joined += [_Literal(text), step]
            text = ""
    return [*joined, _Literal(text)]


def _unset(member: Member) -> str:
    if member.pointer or member.container:
        return "<nil>"
    if member.struct:
        return _UNSET.get(member.struct) or "".join(
            step for step in _plan(member.struct, frozenset()) if isinstance(step, str)
        )
    return {"string": "", "bool": "false"}.get(member.scalar, "0")


def _printer(member: Member) -> _Print:
    one = _OWN.get(member.struct) or (_print_struct(member.struct) if member.struct else _print_scalar)
    if member.container == "l":

        def print_list(items: list[Any], pieces: list[_Piece]) -> None:
            if not items:
                pieces.append("<nil>")
                return
            between = "["
            for item in items:
                pieces.append(between)
                one(item, pieces)
                between = " "
            pieces.append("]")

        return print_list
    if member.container == "m":

        def print_map(entries: dict[str, Any], pieces: list[_Piece]) -> None:
            if not entries:
                pieces.append("<nil>")
                return
            between = "map["
            for key in sorted(entries):
                pieces.append(f"{between}{key}:")
                one(entries[key], pieces)
                between = " "
            pieces.append("]")

        return print_map
    return one


def _print_scalar(value: Any, pieces: list[_Piece]) -> None:
    pieces.append(value if isinstance(value, str) else str(value).lower())


def _print_time(_: Any, pieces: list[_Piece]) -> None:
    # Templates have none; the server sets them on objects.
    pieces.append(_NO_TIME)


def _print_int_or_string(value: int | str, pieces: list[_Piece]) -> None:
    text = isinstance(value, str)
    pieces.append(
        f"{{Type:(intstr.Type){int(text)} IntVal:(int32){0 if text else value} StrVal:(string){value if text else ''}}}"
    )


def _print_quantity(value: str, pieces: list[_Piece]) -> None:
    pieces.append(_quantity(value))


@lru_cache(maxsize=1024)
def _quantity(text: str) -> str:
    """Return a quantity as the parser leaves it: it keeps texts that are short enough and surely canonical."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"no quantity: {text}")
    sign, whole, fraction, power, binary, suffix = match.groups()
    number, places = int(f"{sign}{whole or 0}{fraction or ''}" or "0"), len(fraction or "")
    kept = text if not fraction else ""
    big = "<nil>"
    if binary:
        kind, scale, shift = "BinarySI", 0, _BINARY[binary]
        exact = not fraction and 15 - len(whole) - shift * 3 // 10 - 1 >= 0
        kept = kept if exact and number % 8 else ""
        if exact:
            number <<= shift
        else:
            unscaled = abs(number) * 10**9 * 2**shift // 10**places
            words = [str(unscaled >> at & (1 << 64) - 1) for at in range(0, unscaled.bit_length(), 64)]
            negative = str(number < 0).lower()
            number = 0
            big = f"{{unscaled:(big.Int){{neg:(bool){negative} abs:(big.nat)[{' '.join(words)}]}} scale:(inf.Scale)9}}"
    else:
        kind = "DecimalSI" if power is None else "DecimalExponent"
        scale = (_DECIMAL[suffix] if power is None else int(power)) - places
        kept = "" if whole.endswith("000") else kept
    return (
        f"{{i:(resource.int64Amount){{value:(int64){number} scale:(resource.Scale){scale}}} "
        f"d:(resource.infDecAmount){{Dec:(*inf.Dec){big}}} s:(string){kept} Format:(resource.Format){kind}}}"
    )


_OWN: dict[str, _Print] = {
    "meta.v1.Time": _print_time,
    "util.intstr.IntOrString": _print_int_or_string,
    "api.resource.Quantity": _print_quantity,
}
_UNSET = {
    "meta.v1.Time": _NO_TIME,
    "util.intstr.IntOrString": "{Type:(intstr.Type)0 IntVal:(int32)0 StrVal:(string)}",
    "api.resource.Quantity": (
        "{i:(resource.int64Amount){value:(int64)0 scale:(resource.Scale)0} d:(resource.infDecAmount){Dec:(*inf.Dec)<nil>} "
        "s:(string) Format:(resource.Format)}"
    ),
}
