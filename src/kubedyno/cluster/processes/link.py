"""How the cluster talks to the helper and to each pod's init: sockets, and the streams of commands.

`Helper` is started before the event loop; all else works on the running one. A command's end is told after all its
output, at most `_DRAIN_S` after the process's end: what it left behind may hold the pipe for ever.
"""

import asyncio
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from kubedyno.cluster.processes.helper import MESSAGE_BYTES, receive
from kubedyno.cluster.runtime import STDERR, STDOUT
from kubedyno.kernel.cgroups import Group, Groups

_READ_BYTES = _WRITE_BYTES = 64 << 10
_DRAIN_S = 0.5
_KILLED = 137
# Input that a command has not read yet; a client that sends more, though it was to wait, is cut off.
_INPUT_BYTES = 16 << 20


class Helper:
    """The process that forks pods. Make it while this process has one thread, and before its event loop.

    Args:
        groups: Control groups for containers, which it removes at the end; None, and why there are none.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, groups: Groups | None = None, *, why_none: str = "") -> None:
        self.groups = groups
        self.why_none = why_none
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folders = groups.folders if groups is not None else []
        with theirs:
            source = str(Path(__file__).resolve().parents[3])
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "kubedyno.cluster.processes.helper", str(theirs.fileno()), *folders],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": source},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, plan: dict[str, Any], network: int) -> socket.socket:
        """Have a pod forked.

        Args:
            plan: See `fence.enter`.
            network: Descriptor of its network namespace.

        Returns:
            Our end of the socket to its init, which will say that it is ready or why not.

        Raises:
            OSError: The helper is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            with theirs:
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
                os.write(memory, json.dumps(plan).encode())
                socket.send_fds(self._end, [b"pod"], [memory, network, theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            os.close(memory)
        return ours

    def close(self) -> None:
        """Let it end, and all pods with it; they are gone when this returns."""
        self._end.close()
        self._process.wait()


class Command:
    """A process of a pod: a container's own, or one of exec.

    Attributes:
        on_output: Gets STDOUT or STDERR and the bytes.
        on_started: Gets "" or why it did not start.
        on_exit: Gets the exit code.
    """

    def __init__(self, id: int, pod: "PodLink", *, tty: bool) -> None:
        self.id = id
        self.running = False
        self.on_output: Callable[[int, bytes], None] | None = None
        self.on_started: Callable[[str], None] | None = None
        self.on_exit: Callable[[int], None] | None = None
        self._pod = pod
        self._tty = tty
        self._loop = asyncio.get_running_loop()
        self._outputs: dict[int, int] = {}
        self._input = -1
        self._unwritten = bytearray()
        self._when_read: list[Callable[[], None]] = []
        self._input_ends = False
        # Of a terminal that is still to come.
        self._size: tuple[int, int] | None = None
        self._code: int | None = None
        self._done = False
        self._unwanted = False
        self._paused = False

    def open(self, *, stdin: bool) -> list[int]:
        """Open its streams; returns the three descriptors that it gets. They are to be closed."""
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        if stdin:
            in_read, self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        else:
            in_read = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._listen({out_read: STDOUT, err_read: STDERR})
        return [in_read, out_write, err_write]

    def open_terminal(self, ours: int) -> None:
        """Take our end of its terminal, with what a client said before that was there."""
        self._input = ours
        self._listen({ours: STDOUT})
        if self._size is not None:
            self.resize(*self._size)
        self._flush()

    def _listen(self, outputs: dict[int, int]) -> None:
        self._outputs = outputs
        for descriptor in outputs:
            os.set_blocking(descriptor, False)
            if not self._paused:
                self._loop.add_reader(descriptor, self._read, descriptor)

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # EIO: the last process at the terminal is gone.
            data = b""
        if data:
            if self.on_output is not None:
                self.on_output(self._outputs[descriptor], data)
            return
        self._loop.remove_reader(descriptor)
        del self._outputs[descriptor]
        if descriptor == self._input:
            self._drop_input()
        else:
            os.close(descriptor)
        self._finish_when_drained()

    def write(self, data: bytes) -> None:
        """Give it input; nothing where it has none any more."""
        if self._input_ends or (self._input < 0 and not self._awaits_terminal):
            return
        if len(self._unwritten) + len(data) > _INPUT_BYTES:
            self._pod.signal(self.id, 9, everyone=True)
            return
        self._unwritten += data
        self._flush()

    @property
    def _awaits_terminal(self) -> bool:
        return self._tty and not self.running and not self._done and self._code is None

    @property
    def unread(self) -> int:
        """Bytes of input that it has not read yet."""
        return len(self._unwritten)

    def when_read(self, call: Callable[[], None]) -> None:
        """Call once it has read all that it was given, or reads no more."""
        if self._unwritten:
            self._when_read.append(call)
        else:
            call()

    def _flush(self) -> None:
        if self._input < 0:
            return
        while self._unwritten:
            try:
                sent = os.write(self._input, self._unwritten[:_WRITE_BYTES])
            except BlockingIOError:
                self._loop.add_writer(self._input, self._flush)
                return
            except OSError:
                # It reads no more.
                self._unwritten.clear()
                break
            del self._unwritten[:sent]
        self._loop.remove_writer(self._input)
        self._all_read()
        if self._input_ends and not self._tty:
            self._drop_input()

    def close_input(self) -> None:
        """End its input once all is written: at a terminal by the character that says so."""
        if self._input_ends or (self._input < 0 and not self._awaits_terminal):
            return
        if self._tty:
            self.write(b"\x04")
            return
        self._input_ends = True
        self._flush()

    def _drop_input(self) -> None:
        if self._input >= 0:
            self._loop.remove_writer(self._input)
            os.close(self._input)
            self._input = -1
        self._unwritten.clear()
        self._all_read()

    def _all_read(self) -> None:
        waiting, self._when_read = self._when_read, []
        for call in waiting:
            call()

    def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size."""
        self._size = columns, rows
        if self._tty and self._input >= 0:
            fcntl.ioctl(self._input, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    def pause(self) -> None:
        """Read none of its output for a while."""
        self._paused = True
        for descriptor in self._outputs:
            self._loop.remove_reader(descriptor)

    def resume(self) -> None:
        """Read its output again."""
        if self._paused:
            self._paused = False
            for descriptor in self._outputs:
                self._loop.add_reader(descriptor, self._read, descriptor)
            if self._code is not None:
                self._loop.call_later(_DRAIN_S, self._finish)

    def close(self) -> None:
        """Kill it: its client is gone."""
        self.on_output = None
        self.kill()

    def kill(self) -> None:
        """Kill it and all processes of its group; one that is still to start, once it has."""
        self._unwanted = True
        if self.running:
            self._pod.signal(self.id, 9, everyone=True)

    def started(self, failure: str) -> None:
        """Take note that it runs, or why it does not."""
        if failure:
            self._end_streams()
            self._done = True
        else:
            self.running = True
            if self._unwanted:
                self.kill()
        if self.on_started is not None:
            self.on_started(failure)

    def ended(self, code: int) -> None:
        """Take note of its end."""
        self._code = code
        self.running = False
        self._loop.call_later(_DRAIN_S, self._finish)
        self._finish_when_drained()

    def _finish_when_drained(self) -> None:
        if self._code is not None and not self._outputs:
            self._finish()

    def _finish(self) -> None:
        if self._done or self._paused:
            return
        self._done = True
        self._end_streams()
        if self.on_exit is not None:
            assert self._code is not None
            self.on_exit(self._code)

    def _end_streams(self) -> None:
        for descriptor in list(self._outputs):
            self._loop.remove_reader(descriptor)
            if descriptor != self._input:
                os.close(descriptor)
        self._outputs.clear()
        self._drop_input()


class PodLink:
    """A pod's init.

    Args:
        end: From `Helper.fork`.
        on_ready: Called once, with "" or why the pod could not be made.
        on_gone: Called when init has ended after it was ready.
    """

    def __init__(self, end: socket.socket, on_ready: Callable[[str], None], on_gone: Callable[[], None]) -> None:
        self._end = end
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._ready = False
        self._ids = count()
        self._commands: dict[int, Command] = {}
        # Commands whose terminals are being opened: what they are, and their control groups.
        self._terminals: dict[int, tuple[dict[str, Any], Group | None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._heard)

    def start(self, wanted: dict[str, Any], group: Group | None = None, *, stdin: bool, tty: bool) -> Command:
        """Start a command.

        Args:
            wanted: "argv", "environment", "directory", "uid", "gid", "groups".
            group: The control group that it is in.
            stdin: It gets an input; else it has an empty one.
            tty: It gets a terminal.

        Raises:
            OSError: Init or the group is gone, or the command is longer than a message.
        """
        command = Command(next(self._ids), self, tty=tty)
        if tty:
            # It is the pod's own, of its /dev/pts: init opens it first.
            self._terminals[command.id] = wanted, group
            self._send(command, {"do": "terminal", "id": command.id, "uid": wanted["uid"]}, [])
        else:
            self._send_start(command, wanted, group, command.open(stdin=stdin))
        self._commands[command.id] = command
        return command

    def _send_start(self, command: Command, wanted: dict[str, Any], group: Group | None, streams: list[int]) -> None:
        message = {"do": "start", "id": command.id, "streams": len(streams), **wanted}
        try:
            groups = group.open() if group is not None else []
        except OSError as error:
            for descriptor in streams:
                os.close(descriptor)
            command.started(str(error))
            raise
        self._send(command, message, [*streams, *groups])

    def _send(self, command: Command, message: dict[str, Any], given: list[int]) -> None:
        try:
            socket.send_fds(self._end, [json.dumps(message).encode()], given)
        except OSError as error:
            command.started(str(error))
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)

    def _terminal(self, command: Command, ours: int) -> None:
        """Start a command whose terminal is there now."""
        wanted, group = self._terminals.pop(command.id)
        command.open_terminal(ours)
        try:
            self._send_start(command, wanted, group, [])
        except OSError:
            # The command has been told.
            del self._commands[command.id]

    def signal(self, command: int, number: int, *, everyone: bool) -> None:
        """Signal a command, or all processes of its group too."""
        message = {"do": "signal", "id": command, "signal": number, "all": everyone}
        try:
            self._end.send(json.dumps(message).encode())
        except OSError:
            # Init is gone, and with it all that could be signalled; `_heard` will say so.
            return

    def close(self) -> None:
        """Let init end: the kernel kills whatever runs in the pod."""
        if self._end.fileno() >= 0:
            self._loop.remove_reader(self._end)
            self._end.close()
        for command in list(self._commands.values()):
            if command.running:
                command.ended(_KILLED)
            else:
                command.started("the pod is gone")
        self._commands.clear()
        self._terminals.clear()

    def _heard(self) -> None:
        try:
            message, descriptors = receive(self._end)
        except BlockingIOError:
            return
        if not message:
            self._lost("its first process ended")
            return
        told = json.loads(message)
        if "ready" in told:
            self._ready = True
            self._on_ready("")
        elif "broken" in told:
            self._lost(told["broken"])
        elif "failed" in told:
            self._commands.pop(told["id"]).started(told["failed"])
        elif "terminal" in told:
            self._terminal(self._commands[told["terminal"]], *descriptors)
        elif "started" in told:
            self._commands[told["id"]].started("")
        else:
            self._commands.pop(told["id"]).ended(told["ended"])

    def _lost(self, why: str) -> None:
        ready = self._ready
        self.close()
        if ready:
            self._on_gone()
        else:
            self._on_ready(why)
