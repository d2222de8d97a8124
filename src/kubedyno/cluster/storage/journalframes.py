"""What the files of a journal are made of: entries in frames with a checksum each.

A frame is its payload's length and CRC-32 (little-endian, four bytes each), then the payload: one entry in msgpack.
Reading ends at the first frame that is not whole: what was written after it cannot be told from noise.
"""

import struct
from collections.abc import Iterator
from zlib import crc32

import msgspec

_HEAD = struct.Struct("<II")
# A body of 3 MiB and its managedFields fit many times; a longer one is a length that was damaged.
MAX_FRAME_BYTES = 64 << 20


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The newest version of an object at some time, or that it was deleted then.

    Attributes:
        table: The table's name.
        key: The object's.
        revision: Of this version, or of the deletion.
        deleted: It was deleted; the rest is empty then.
        meta: As in `StoredObject`.
        managed: As in `StoredObject`.
        body: As in `StoredObject`.
        status: As in `StoredObject`.
    """

    table: str
    key: str
    revision: int
    deleted: bool = False
    meta: bytes = b""
    managed: bytes = b""
    body: bytes = b""
    status: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class DamagedError(Exception):
    """A frame is not whole.

    Attributes:
        offset: Where it begins.
    """

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset


def frame_of(entry: Entry) -> bytes:
    """Return an entry as it is written."""
    payload = _encode(entry)
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def entries_of(data: bytes | memoryview) -> Iterator[Entry]:
    """Yield the entries of a file.

    Raises:
        DamagedError: A frame is not whole; all before it have been yielded.
    """
    view, offset, size = memoryview(data), 0, len(data)
    while offset < size:
        begin = offset + _HEAD.size
        if begin > size:
            raise DamagedError(offset, "it ends within a record")
        length, checksum = _HEAD.unpack_from(view, offset)
        if not 0 < length <= MAX_FRAME_BYTES:
            raise DamagedError(offset, "a record has no sensible length")
        if begin + length > size:
            raise DamagedError(offset, "it ends within a record")
        payload = view[begin : begin + length]
        if crc32(payload) != checksum:
            raise DamagedError(offset, "a record's checksum does not match")
        try:
            entry = _decode(payload)
        except msgspec.DecodeError as error:
            raise DamagedError(offset, f"a record is no entry ({error})") from error
        yield entry
        offset = begin + length
