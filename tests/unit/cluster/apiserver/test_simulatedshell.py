"""The shell of a simulated container: what is typed, and what it answers."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver.remotecommand import Channel, Wanted
from kubedyno.cluster.apiserver.simulatedshell import converse


@dataclass
class Session:
    """A client that types, and ends its input."""

    typed: list[bytes]
    tty: bool
    said: bytes = b""
    held: list[bool] = field(default_factory=list)
    wanted: Wanted = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = Wanted(True, True, not self.tty, self.tty)

    def write(self, _: Channel, data: bytes) -> None:
        self.said += data

    def listen(self, on_stdin: Any, on_end: Any, _: Any) -> None:
        def type_all() -> None:
            for data in self.typed:
                on_stdin(data)
            on_end()

        asyncio.get_running_loop().call_soon(type_all)

    def hold(self) -> None:
        self.held.append(True)

    def release(self) -> None:
        self.held.append(False)

    async def drain(self) -> None:
        pass


def conversed(typed: list[bytes], *, tty: bool = False) -> tuple[list[list[str]], bytes, tuple[int, bool]]:
    """Return the commands that came, what was shown, and how it ended; "no" fails, the others do not."""
    commands: list[list[str]] = []
    session: Any = Session(typed, tty)

    async def run(words: list[str]) -> int:
        commands.append(words)
        return 1 if words == ["no"] else 0

    async def scene() -> tuple[int, bool]:
        async with aio.timeout(60):
            return await converse(session, run)

    ended = aio.run(scene())
    return commands, session.said, ended


@pytest.mark.parametrize(
    ("typed", "commands", "ended"),
    [
        ([], [], (0, False)),
        ([b"ls /\nps\n"], [["ls", "/"], ["ps"]], (0, False)),
        ([b"l", b"s", b"\n"], [["ls"]], (0, False)),
        ([b"no\n"], [["no"]], (1, False)),
        ([b"no"], [["no"]], (1, False)),
        ([b"no\nexit\nls\n"], [["no"]], (1, True)),
        ([b"exit 7\n"], [], (7, True)),
        ([b"exit 300\n"], [], (44, True)),
        ([b"exit x\n"], [], (2, True)),
        ([b"echo 'a b' c # d\n\n  \n"], [["echo", "a b", "c"]], (0, False)),
        ([b"echo 'a\n"], [["echo", "'a"]], (0, False)),
        ([b"no\r\n"], [["no"]], (1, False)),
        ([b"\xff\n"], [["\N{REPLACEMENT CHARACTER}"]], (0, False)),
    ],
)
def test_lines_are_commands_until_the_input_ends_or_one_says_exit(typed, commands, ended):
    assert conversed(typed) == (commands, b"", ended)


@pytest.mark.parametrize(
    ("typed", "commands", "shown", "ended"),
    [
        (b"ls\rexit 3\r", [["ls"]], b"/ # ls\r\nexit 3\r\n/ # ", (3, True)),
        (b"lt\x7fs\r\x04", [["ls"]], b"/ # lt\b \bs\r\n/ # ", (0, False)),
        (b"\x7fno\x04\r\x04", [["no"]], b"/ # no\r\n/ # ", (1, False)),
        (b"rm -r\x03\x04", [], b"/ # rm -r^C\r\n/ # ", (130, False)),
    ],
)
def test_a_terminal_echoes_and_lets_what_is_typed_be_taken_back(typed, commands, shown, ended):
    found, said, how = conversed([typed], tty=True)
    assert (found, how) == (commands, ended)
    # All was typed before the first prompt after it.
    assert said.replace(b"/ # ", b"") == shown.replace(b"/ # ", b"")


def test_a_line_without_end_is_cut():
    commands, _, ended = conversed([b"a" * 10_000 + b"\n"])
    assert (len(commands[0][0]), ended) == (4096, (0, False))


def test_who_types_ahead_waits_and_loses_no_line():
    lines = [f"echo {number}" for number in range(3000)]
    commands, _, _ = conversed(["\n".join(lines).encode() + b"\n"])
    assert [" ".join(words) for words in commands] == lines


def test_input_is_held_while_lines_have_piled_up():
    session: Any = Session([b"ls\n" * 1030], tty=False)

    async def run(_: list[str]) -> int:
        return 0

    aio.run(converse(session, run))
    assert session.held == [True, False]
