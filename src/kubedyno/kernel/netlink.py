"""Netlink: messages as bytes, and a socket that returns the kernel's own sentence with an error.

In: message type, flags, body. Out: the bodies of the answer. Encoding is pure and tested against golden bytes.
"""

import errno
import os
import socket
import struct
from collections.abc import Mapping, Sequence

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
NESTED = 0x8000
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
# NLM_F_ACK_TLVS: attributes follow the error; with CAP_ACK the request is not carried back before them.
_ACK_TLVS = 0x200
_ERROR_TEXT = 1
_RECEIVE_BYTES = 1 << 17
# A netlink answer is immediate; a kernel that does not answer within this is broken.
_TIMEOUT_S = 10.0


class NetlinkError(OSError):
    """The kernel said no; the text is its own sentence where it gave one."""


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def text(value: str) -> bytes:
    """Return a NUL-terminated string."""
    return value.encode() + b"\0"


def u32(value: int) -> bytes:
    """Return four bytes in the machine's order."""
    return struct.pack("=I", value)


def be32(value: int) -> bytes:
    """Return four bytes in network order; negative numbers as two's complement."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Return the attributes in `data` by kind (flags cleared); of a repeated one the last. Stops at damage."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> list[tuple[int, bytes]]:
    """Return the attributes in order, repeated ones too."""
    found, at = [], 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4 or at + size > len(data):
            break
        found.append((kind & 0x3FFF, data[at + 4 : at + size]))
        at += (size + 3) & ~3
    return found


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a whole message, padded to four bytes."""
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, kind, flags, sequence, 0) + body + bytes(-size % 4)


def error_of(number: int, attributes: Mapping[int, bytes]) -> NetlinkError:
    """Return the error of a negative acknowledgement."""
    said = attributes.get(_ERROR_TEXT, b"").rstrip(b"\0").decode(errors="replace")
    return NetlinkError(number, f"{errno.errorcode.get(number, str(number))}: {said or os.strerror(number)}")


class NetlinkSocket:
    """A request/answer socket of one netlink family in the calling thread's network namespace."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT_S)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def call(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send one request and return the bodies of its answer.

        Raises:
            NetlinkError: The kernel refused.
        """
        self._sequence += 1
        self._socket.send(message(kind, REQUEST | flags | (0 if flags & DUMP == DUMP else ACK), self._sequence, body))
        return self._answers({self._sequence})

    def call_batch(self, messages: Sequence[tuple[int, int, bytes]], begin: bytes, end: bytes) -> None:
        """Send messages as one transaction between `begin` and `end` (nfnetlink's batches), acknowledged one by one.

        Args:
            messages: Type, flags, body.
            begin: The header-less opening: four bytes of type, then its body.
            end: The same for the closing one.

        Raises:
            NetlinkError: The first refusal; the kernel then did nothing of the batch.
        """
        parts, waited = [], set()
        for kind, flags, body in (
            (int.from_bytes(begin[:4], "big"), 0, begin[4:]),
            *messages,
            (int.from_bytes(end[:4], "big"), 0, end[4:]),
        ):
            self._sequence += 1
            asked = ACK if flags else 0
            parts.append(message(kind, REQUEST | flags | asked, self._sequence, body))
            if asked:
                waited.add(self._sequence)
        self._socket.send(b"".join(parts))
        self._answers(waited)

    def _answers(self, waited: set[int]) -> list[bytes]:
        bodies: list[bytes] = []
        refusal: NetlinkError | None = None
        while waited:
            data, at = self._socket.recv(_RECEIVE_BYTES), 0
            while at + _HEADER.size <= len(data):
                size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
                body = data[at + _HEADER.size : at + size]
                at += (size + 3) & ~3
                if kind == _ERROR and sequence:
                    number = -struct.unpack_from("=i", body)[0]
                    if number:
                        tail = attributes_of(body[20:]) if flags & _ACK_TLVS else {}
                        refusal = refusal or error_of(number, tail)
                        if sequence not in waited:
                            waited = set()  # the whole batch was refused at its opening
                    waited.discard(sequence)
                elif kind == _DONE:
                    waited.discard(sequence)
                elif sequence in waited:
                    bodies.append(body)
        if refusal is not None:
            raise refusal
        return bodies
