"""HPACK (RFC 7541): a decoder that remembers whole blocks, and an encoder that uses no dynamic table.

Clients repeat themselves: a load's requests share one header block byte for byte. A block that neither reads nor
changes the dynamic table means the same for ever and is remembered; one that only reads it means the same until
the table changes, and is forgotten then. Nothing else is remembered, and nothing across connections, so a
request can never be taken for another's.

What we encode is static or literal, without Huffman: the other side must keep no state, and equal answers are
equal bytes.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

T = TypeVar("T")
Fields = list[tuple[str, str]]

# RFC 7541 appendix A, index 1 to 61.
_STATIC: tuple[tuple[str, str], ...] = tuple((n.decode(), v.decode()) for n, v in HeaderTable.STATIC_TABLE)
_STATIC_SIZE = len(_STATIC)
# Blocks and strings remembered by one decoder; forgotten all at once when full, which costs less than an LRU.
_MEMO_BLOCKS = 1024
_MEMO_STRINGS = 2048
# What RFC 7541 adds to name and value for an entry's size.
_ENTRY_OVERHEAD = 32


class HeaderError(Exception):
    """A header block that breaks the rules; the connection's compression state is lost with it."""


class Decoder(Generic[T]):
    """Decodes the header blocks of one direction of one connection.

    Args:
        make: Turns the fields, in order, into what the caller wants; called once for a block that is remembered.
            May raise: the error is the caller's own and leaves the table intact.
        table_size: What we told the peer its encoder may use.
        max_list_bytes: Most that one block may unpack to (RFC 9113 §6.5.2's measure).
    """

    __slots__ = (
        "_entries",
        "_forever",
        "_granted",
        "_limit",
        "_make",
        "_max_list",
        "_size",
        "_strings",
        "_until_change",
    )

    def __init__(self, make: Callable[[Fields], T], table_size: int, max_list_bytes: int) -> None:
        self._make = make
        # Invariant: _size <= _limit <= _granted. The encoder chooses _limit, we grant.
        self._granted = table_size
        self._limit = table_size
        self._size = 0
        self._max_list = max_list_bytes
        self._entries: deque[tuple[str, str]] = deque()
        self._forever: dict[bytes, T] = {}
        self._until_change: dict[bytes, T] = {}
        self._strings: dict[bytes, str] = {}

    @property
    def remembered(self) -> int:
        """How many blocks are remembered now."""
        return len(self._forever) + len(self._until_change)

    def grant(self, table_size: int) -> None:
        """Take a new table size of ours into force: the peer has acknowledged it."""
        self._granted = table_size
        if self._limit > table_size:
            self._until_change.clear()
            self._resize(table_size)

    def decode(self, block: bytes) -> T:
        """Return what `make` made of the block's fields.

        Raises:
            HeaderError: The block is malformed or unpacks to too much.
        """
        found = self._forever.get(block)
        if found is None:
            found = self._until_change.get(block) if self._until_change else None
            if found is None:
                return self._decode(block)
        return found

    def _decode(self, block: bytes) -> T:
        fields: Fields = []
        total = 0
        position = 0
        end = len(block)
        reads = changes = False
        try:
            while position < end:
                first = block[position]
                if first & 0x80:
                    index, position = _integer(block, position, 0x7F)
                    reads |= index > _STATIC_SIZE
                    field = self._entry(index)
                elif first & 0x40 or not first & 0x20:
                    keep = first & 0x40
                    index, position = _integer(block, position, 0x3F if keep else 0x0F)
                    if index:
                        reads |= index > _STATIC_SIZE
                        name = self._entry(index)[0]
                    else:
                        name, position = self._string(block, position)
                    value, position = self._string(block, position)
                    field = (name, value)
                    if keep:
                        changes = True
                        self._add(field)
                else:
                    if fields:
                        raise HeaderError("a table size change after a field")
                    size, position = _integer(block, position, 0x1F)
                    if size > self._granted:
                        raise HeaderError(f"table size {size} is more than was granted")
                    changes = True
                    self._resize(size)
                    continue
                fields.append(field)
                total += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
                if total > self._max_list:
                    raise HeaderError(f"headers of more than {self._max_list} bytes")
        except IndexError:
            raise HeaderError("a truncated header block") from None
        if changes:
            self._until_change.clear()
            return self._make(fields)
        made = self._make(fields)
        memo = self._until_change if reads else self._forever
        if len(memo) >= _MEMO_BLOCKS:
            memo.clear()
        memo[block] = made
        return made

    def _entry(self, index: int) -> tuple[str, str]:
        if 0 < index <= _STATIC_SIZE:
            return _STATIC[index - 1]
        if index == 0 or index - _STATIC_SIZE > len(self._entries):
            raise HeaderError(f"no header table entry {index}")
        return self._entries[index - _STATIC_SIZE - 1]

    def _string(self, block: bytes, position: int) -> tuple[str, int]:
        huffman = block[position] & 0x80
        length, position = _integer(block, position, 0x7F)
        end = position + length
        if end > len(block):
            raise HeaderError("a truncated header block")
        raw = block[position:end]
        if not huffman:
            return raw.decode("latin-1"), end
        text = self._strings.get(raw)
        if text is None:
            try:
                text = decode_huffman(raw).decode("latin-1")
            except HPACKError as error:
                raise HeaderError(str(error)) from error
            if len(self._strings) >= _MEMO_STRINGS:
                self._strings.clear()
            self._strings[raw] = text
        return text, end

    def _add(self, field: tuple[str, str]) -> None:
        self._entries.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        self._evict()

    def _resize(self, size: int) -> None:
        self._limit = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return an integer of RFC 7541 §5.1 and the position after it."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 28:
            raise HeaderError("an integer of more than 32 bits")


def encode_integer(value: int, mask: int, first: int) -> bytes:
    """Return an integer of RFC 7541 §5.1; `first` holds the bits above the prefix."""
    if value < mask:
        return bytes((first | value,))
    out = bytearray((first | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_string(text: bytes) -> bytes:
    """Return a string literal without Huffman coding."""
    return encode_integer(len(text), 0x7F, 0) + text


_NAME_INDEX: dict[str, int] = {}
_FIELD_INDEX: dict[tuple[str, str], int] = {}
for _index, (_name, _value) in enumerate(_STATIC, 1):
    _NAME_INDEX.setdefault(_name, _index)
    if _value:
        _FIELD_INDEX[_name, _value] = _index
# Values that must not enter anyone's table (RFC 7541 §7.1.3), nor be guessed by compression.
_NEVER_INDEXED = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


def encode_field(name: str, value: str) -> bytes:
    """Return one field, static or literal, never entering a dynamic table. `name` is lower-case."""
    whole = _FIELD_INDEX.get((name, value))
    if whole:
        return bytes((0x80 | whole,))
    never = 0x10 if name in _NEVER_INDEXED else 0
    index = _NAME_INDEX.get(name)
    head = encode_integer(index, 0x0F, never) if index else bytes((never,)) + encode_string(name.encode())
    return head + encode_string(value.encode())
