"""The shell that a simulated container waits in: what is typed into `attach` is answered from the pod's script.

A line is a command and gets what `exec` of it would get; nothing is made up. The shell ends with `exit` or with its
input, and with the code of its last command, as shells do.
"""

import asyncio
import shlex
from collections import deque
from collections.abc import Awaitable, Callable

from kubedyno.cluster.apiserver.remotecommand import Channel, Session

# Answers a command: writes its output, returns its exit code.
Run = Callable[[list[str]], Awaitable[int]]

_PROMPT = b"/ # "
_MAX_LINE = 4096
# Lines that no command has been made of yet; past this the client waits.
_MAX_WAITING = 1024
_MAX_CODE = 255
_ENTER, _NEW_LINE, _END, _INTERRUPT = 0x0D, 0x0A, 0x04, 0x03
_RUBOUTS = frozenset({0x08, 0x7F})
_INTERRUPTED = 130
_NOT_NUMERIC = 2


class Typed:
    """Lines made of what is typed; on a terminal with echo, rubbing out, and ends of input as a terminal has them.

    Args:
        echo: Shows what is typed; None where there is no terminal.
        hold: Called when lines have piled up.

    Attributes:
        lines: That are complete; None is the end.
        changed: Set with each.
    """

    def __init__(self, echo: Callable[[bytes], None] | None, hold: Callable[[], None]) -> None:
        self._echo = echo
        self._hold = hold
        self._line = bytearray()
        self.lines: deque[bytes | None] = deque()
        self.changed = asyncio.Event()

    def take(self, data: bytes) -> None:
        """Take what was typed."""
        for byte in data:
            self._take(byte)

    def end(self) -> None:
        """No more will come."""
        if self._line:
            self._complete()
        self._add(None)

    def _take(self, byte: int) -> None:
        echo = self._echo
        if byte == _NEW_LINE or (echo is not None and byte == _ENTER):
            self._show(b"\r\n")
            self._complete()
        elif echo is not None and byte == _END:
            if not self._line:
                self._add(None)
        elif echo is not None and byte == _INTERRUPT:
            self._show(b"^C\r\n")
            self._line.clear()
            self._add(b"\x03")
        elif echo is not None and byte in _RUBOUTS:
            if self._line:
                self._line.pop()
                self._show(b"\b \b")
        elif len(self._line) < _MAX_LINE:
            self._line.append(byte)
            self._show(bytes((byte,)))

    def _show(self, data: bytes) -> None:
        if self._echo is not None:
            self._echo(data)

    def _complete(self) -> None:
        self._add(bytes(self._line))
        self._line.clear()

    def _add(self, line: bytes | None) -> None:
        self.lines.append(line)
        if len(self.lines) == _MAX_WAITING:
            self._hold()
        self.changed.set()


async def converse(session: Session, run: Run) -> tuple[int, bool]:
    """Be the shell until it ends, or its input; returns (exit code, whether it was told to exit).

    Args:
        session: Who types, and reads.
        run: Answers commands.
    """
    tty = session.wanted.tty
    typed = Typed((lambda data: session.write(Channel.STDOUT, data)) if tty else None, session.hold)
    session.listen(typed.take, typed.end, lambda _columns, _rows: None)
    code = 0
    while True:
        if tty:
            session.write(Channel.STDOUT, _PROMPT)
        while not typed.lines:
            typed.changed.clear()
            await typed.changed.wait()
        line = typed.lines.popleft()
        if len(typed.lines) == _MAX_WAITING - 1:
            session.release()
        if line is None:
            return code, False
        if line == b"\x03":
            code = _INTERRUPTED
            continue
        words = _words(line.decode(errors="replace"))
        if not words:
            continue
        if words[0] == "exit":
            return (_code(words[1]) if len(words) > 1 else code), True
        code = await run(words)
        await session.drain()


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        # A quotation without an end.
        return line.split()


def _code(text: str) -> int:
    return int(text) & _MAX_CODE if text.isascii() and text.isdigit() else _NOT_NUMERIC
