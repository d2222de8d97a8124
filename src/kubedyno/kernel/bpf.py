"""bpf(2): maps, programs and attachments as objects that own a descriptor.

In: bytes of programs, keys and values. Out: descriptors; closing the last one of an attachment detaches it, so a killed
process leaves nothing attached. An error carries the verifier's log.
"""

import ctypes
import errno
import os
import struct
from enum import IntEnum
from types import TracebackType
from typing import Self

from kubedyno.kernel import libc

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _LINK_CREATE = 0, 1, 2, 3, 4, 5, 28
_LOG_BYTES = 1 << 18
_NAME_BYTES = 15
# The whole union, zero behind what is set: the kernel refuses (EINVAL) bytes it does not know unless they are zero.
_ATTRIBUTE_BYTES = 128


class MapType(IntEnum):
    """Kinds of maps."""

    HASH, ARRAY, LPM_TRIE = 1, 2, 11


class ProgramType(IntEnum):
    """Kinds of programs."""

    SCHED_CLS, XDP = 3, 6


class AttachType(IntEnum):
    """Where a program is attached through a link."""

    TCX_INGRESS, TCX_EGRESS, NETKIT_PRIMARY, NETKIT_PEER = 46, 47, 54, 55


NO_PREALLOC = 1
TCX_NEXT, ACT_OK, ACT_SHOT = -1, 0, 2


class Helper(IntEnum):
    """Numbers of helper functions."""

    MAP_LOOKUP_ELEM, REDIRECT, FIB_LOOKUP, REDIRECT_NEIGH, REDIRECT_PEER = 1, 23, 69, 152, 155


class BpfError(OSError):
    """The kernel refused; `log` is the verifier's text, "" when it said nothing."""

    def __init__(self, number: int, what: str, log: str = "") -> None:
        super().__init__(number, f"{what}: {errno.errorcode.get(number, number)} {os.strerror(number)}")
        self.log = log


def _call(command: int, attributes: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attributes, max(_ATTRIBUTE_BYTES, len(attributes)))
    try:
        return libc.bpf(command, buffer)
    except OSError as error:
        raise BpfError(error.errno or 0, what) from error


class _Owned:
    """Something in the kernel that lives while its descriptor is open."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        """Close the descriptor; twice is once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Map(_Owned):
    """A map with fixed sizes.

    Args:
        type: Its kind.
        key: Bytes of a key.
        value: Bytes of a value.
        entries: Most entries. The kernel takes the memory at once unless told not to.
        flags: NO_PREALLOC, which an LPM_TRIE must have.
        name: Up to 15 characters, for bpftool.

    Raises:
        BpfError: EPERM without CAP_BPF, E2BIG, EINVAL for a kind or size the kernel does not have.
    """

    def __init__(self, type: MapType, key: int, value: int, entries: int, flags: int = 0, name: str = "") -> None:
        self._key = ctypes.create_string_buffer(key)
        self._value = ctypes.create_string_buffer(value)
        attributes = struct.pack("=IIIIIII16s", type, key, value, entries, flags, 0, 0, name.encode()[:_NAME_BYTES])
        super().__init__(_call(_MAP_CREATE, attributes, f"create map {name}"))

    def _element(self, flags: int) -> bytes:
        return struct.pack(
            "=IIQQQ", self.descriptor, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), flags
        )

    def _set_key(self, key: bytes) -> None:
        if len(key) != len(self._key):
            raise ValueError(f"key of {len(key)} bytes for a map with keys of {len(self._key)}")
        ctypes.memmove(self._key, key, len(key))

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace.

        Raises:
            BpfError: E2BIG (hash) or ENOSPC (LPM) when the map is full.
            ValueError: A size differs from the map's.
        """
        if len(value) != len(self._value):
            raise ValueError(f"value of {len(value)} bytes for a map with values of {len(self._value)}")
        self._set_key(key)
        ctypes.memmove(self._value, value, len(value))
        _call(_MAP_UPDATE, self._element(0), "update map")

    def lookup(self, key: bytes) -> bytes | None:
        """Return a copy of a value, None when the key is absent."""
        self._set_key(key)
        try:
            _call(_MAP_LOOKUP, self._element(0), "look up in map")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw

    def delete(self, key: bytes) -> bool:
        """Remove an entry; False when there was none."""
        self._set_key(key)
        # Its attributes end with the key: anything behind is refused unless it is zero.
        attributes = struct.pack("=IIQ", self.descriptor, 0, ctypes.addressof(self._key))
        try:
            _call(_MAP_DELETE, attributes, "delete from map")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def keys(self) -> list[bytes]:
        """Return the keys of all entries; meant for a map that nobody changes meanwhile."""
        found: list[bytes] = []
        following = ctypes.create_string_buffer(len(self._key))
        place = 0
        while True:
            attributes = struct.pack("=IIQQ", self.descriptor, 0, place, ctypes.addressof(following))
            try:
                _call(_MAP_NEXT_KEY, attributes, "walk through map")
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return found
                raise
            found.append(following.raw)
            self._set_key(following.raw)
            place = ctypes.addressof(self._key)


class Program(_Owned):
    """A loaded program.

    Raises:
        BpfError: With the verifier's log when it refuses the program.
    """

    def __init__(self, code: bytes, type: ProgramType, name: str, attach: int = 0) -> None:
        instructions = ctypes.create_string_buffer(code, len(code))
        licence = ctypes.create_string_buffer(b"GPL")  # the helpers used are for programs under it

        def load(log: "ctypes.Array[ctypes.c_char] | None") -> int:
            level, size, place = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
            attributes = struct.pack(
                "=IIQQIIQII16sII",
                type,
                len(code) // 8,
                ctypes.addressof(instructions),
                ctypes.addressof(licence),
                level,
                size,
                place,
                0,
                0,
                name.encode()[:_NAME_BYTES],
                0,
                attach,
            )
            return _call(_PROG_LOAD, attributes, f"load program {name}")

        try:
            descriptor = load(None)  # a log buffer that is too small would be an error of its own
        except BpfError:
            log = ctypes.create_string_buffer(_LOG_BYTES)
            try:
                descriptor = load(log)
            except BpfError as error:
                raise BpfError(error.errno or 0, f"load program {name}", log.value.decode(errors="replace")) from error
        super().__init__(descriptor)


class Attachment(_Owned):
    """A program attached to a link of the calling thread's namespace; closing it detaches.

    Raises:
        BpfError: EINVAL where the kernel has no such hook (tcx before 6.6), EPERM, ENODEV.
    """

    def __init__(self, program: Program, index: int, attach: AttachType) -> None:
        attributes = struct.pack("=IIIIIIQ", program.descriptor, index, attach, 0, 0, 0, 0)
        super().__init__(_call(_LINK_CREATE, attributes, f"attach at {attach.name.lower()}"))
