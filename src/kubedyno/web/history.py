"""What a page was told, kept so that whoever comes later can replay it.

Messages lie in segments; each begins with a snapshot, so that the oldest segments can go and a replay can begin at any.
A segment is closed once its messages weigh twice its snapshot: snapshots cost half of what changes do, at most.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# Of all messages together, before they are packed: what a browser has to read at once.
MAX_BYTES = 48 << 20
_MIN_SEGMENT_BYTES = 1 << 20


@dataclass(slots=True)
class _Segment:
    size: int
    closes_at: int
    messages: list[bytes] = field(default_factory=list)
    packed: bytes = b""

    def pack(self) -> None:
        self.packed = zlib.compress(b"\n".join(self.messages), 1)
        self.messages.clear()

    def text(self) -> bytes:
        return zlib.decompress(self.packed) if self.packed else b"\n".join(self.messages)


class History:
    """The messages of a page, the oldest dropped beyond a size.

    Args:
        snapshot: Returns the message that says all there is now.
        most_bytes: Of the messages that are kept.
    """

    def __init__(self, snapshot: Callable[[], bytes], most_bytes: int = MAX_BYTES) -> None:
        self._snapshot = snapshot
        self._most = most_bytes
        self._segments: deque[_Segment] = deque()
        self._size = 0

    def add(self, message: bytes, *, whole: bool = False) -> None:
        """Keep a message; `whole`: it says all there is."""
        last = self._segments[-1] if self._segments else None
        if last is None or whole or last.size > last.closes_at:
            if last is not None:
                last.pack()
            if not whole:
                # It says what the message says, and everything else.
                message = self._snapshot()
            last = _Segment(0, max(_MIN_SEGMENT_BYTES, 3 * len(message)))
            self._segments.append(last)
        last.messages.append(message)
        last.size += len(message)
        self._size += len(message)
        while self._size > self._most and len(self._segments) > 1:
            self._size -= self._segments.popleft().size

    def texts(self) -> Iterator[bytes]:
        """Yield the messages, one a line, segment by segment."""
        for segment in list(self._segments):
            yield segment.text() + b"\n"
