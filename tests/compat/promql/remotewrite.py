"""Series into a Prometheus by its remote-write receiver: the one way in for stale markers, which are a certain NaN."""

import struct
from collections.abc import Iterable, Iterator

Series = tuple[str, dict[str, str], list[tuple[int, float]]]

# Of one literal in snappy's block format; nothing is compressed.
_LITERAL = 1 << 16
_TWO_BYTES_OF_LENGTH = 61 << 2
_SERIES_A_REQUEST = 40
HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def requests(series: Iterable[Series]) -> Iterator[bytes]:
    """Yield bodies of POST /api/v1/write."""
    encoded = [_field(1, _series(*one)) for one in series]
    for at in range(0, len(encoded), _SERIES_A_REQUEST):
        yield _snappy(b"".join(encoded[at : at + _SERIES_A_REQUEST]))


def _series(name: str, labels: dict[str, str], points: list[tuple[int, float]]) -> bytes:
    pairs = sorted({"__name__": name, **labels}.items())
    parts = [_field(1, _field(1, label.encode()) + _field(2, value.encode())) for label, value in pairs]
    parts += [_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at)) for at, value in points]
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _snappy(content: bytes) -> bytes:
    parts = [_varint(len(content))]
    for at in range(0, len(content), _LITERAL):
        piece = content[at : at + _LITERAL]
        parts += [bytes([_TWO_BYTES_OF_LENGTH]), struct.pack("<H", len(piece) - 1), piece]
    return b"".join(parts)
