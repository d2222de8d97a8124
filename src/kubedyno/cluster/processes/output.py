"""What containers write: the last lines of it, and who follows.

In bytes as they come from a pipe, out lines with their time. What is kept is bounded in bytes; a kubelet rotates files of
10 MiB instead.
"""

from collections import deque
from collections.abc import Callable

from kubedyno.cluster.runtime import Line

KEPT_BYTES = 1 << 20
_LINE_BYTES = 16 << 10


class ContainerLog:
    """One container's log, from its start to its end."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._partial: dict[int, bytes] = {}
        self._followers: list[Callable[[Line | None], None]] = []
        self.closed = False

    @property
    def lines(self) -> list[Line]:
        return list(self._lines)

    def write(self, stream: int, data: bytes, now_s: float) -> None:
        """Take what one of the streams brought."""
        whole = self._partial.pop(stream, b"") + data
        *lines, rest = whole.split(b"\n")
        while len(rest) > _LINE_BYTES:
            lines.append(rest[:_LINE_BYTES])
            rest = rest[_LINE_BYTES:]
        if rest:
            self._partial[stream] = rest
        for text in lines:
            self._add(Line(now_s, text.removesuffix(b"\r")))

    def close(self, now_s: float) -> None:
        """End it: an unfinished line is one too."""
        for text in self._partial.values():
            self._add(Line(now_s, text))
        self._partial.clear()
        self.closed = True
        for call in list(self._followers):
            call(None)
        self._followers.clear()

    def follow(self, call: Callable[[Line | None], None]) -> Callable[[], None]:
        """As `runtime.Log` says; of a log that has ended nothing more comes than its end."""
        if self.closed:
            call(None)
            return lambda: None
        self._followers.append(call)

        def end() -> None:
            if call in self._followers:
                self._followers.remove(call)

        return end

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._bytes += len(line.text)
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._lines.popleft().text)
        for call in list(self._followers):
            call(line)
