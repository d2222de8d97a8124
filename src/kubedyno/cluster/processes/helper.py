"""The process that forks pods: `python -m kubedyno.cluster.processes.helper DESCRIPTOR [CONTROL-GROUP-FOLDER…]`.

It is single-threaded and small, so that a fork is cheap and safe; the cluster starts it before its event loop. Each
message on its socket brings a pod: a plan (a file of JSON in memory), the pod's network namespace, and the socket on which
the cluster talks to the pod's init. Init is process 1 of the pod's PID namespace: it starts commands, tells how they
ended, and collects orphans. When the cluster ends, by whatever signal, this process hears it by the end of its socket, and
removes the cluster's control groups; when it ends, the kernel kills every init (parent death), and with it all processes of
its namespace; mounts and devices go with the last of them.
"""

import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
from array import array
from contextlib import suppress
from typing import Any

from kubedyno.cluster.processes import fence
from kubedyno.kernel import cgroups, libc

MESSAGE_BYTES = 256 * 1024
# A command's streams, and a few control groups.
_DESCRIPTORS = 8
_NOT_STARTED = 127


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """Return the next message and its descriptors; b"" when the other end is closed."""
    try:
        # socket.recv_fds forgets its flags, and without this one each command would inherit what came for others.
        data, extra, _, _ = end.recvmsg(MESSAGE_BYTES, socket.CMSG_LEN(_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", []
    descriptors = array("i")
    for level, kind, content in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)


def main(arguments: list[str]) -> int:
    """Fork a pod for each message until the cluster goes."""
    end = socket.socket(fileno=int(arguments[0]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What is meant for the cluster's process group; it says itself when pods are to go.
        signal.signal(number, signal.SIG_IGN)
    # Nobody waits for keepers: the kernel collects them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors = receive(end)
        if not message:
            cgroups.sweep(arguments[1:])
            return 0
        plan, network, control = descriptors
        try:
            child = os.fork()
        except OSError as error:
            _refuse(control, error)
            child = -1
        if child == 0:
            end.close()
            _keep(plan, network, control)
        for descriptor in descriptors:
            os.close(descriptor)


def _refuse(control: int, error: OSError) -> None:
    with socket.socket(fileno=os.dup(control)) as refused:
        refused.send(json.dumps({"broken": f"no process for it: {error}"}).encode())


def _keep(plan: int, network: int, control: int) -> None:
    """Be the parent of a pod's first process, which is forked into a PID namespace of its own; never returns.

    The helper itself could not come back from there: without root, the namespace that it is in is not its own.
    """
    code = 1
    try:
        libc.die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.unshare(libc.CLONE_NEWPID)
        init = os.fork()
        if init == 0:
            _be_init(plan, network, socket.socket(fileno=control))
        for descriptor in (plan, network, control):
            os.close(descriptor)
        os.waitpid(init, 0)
        code = 0
    except OSError as error:
        _refuse(control, error)
    finally:
        os._exit(code)


def _be_init(plan: int, network: int, control: socket.socket) -> None:
    """Be a pod's first process; never returns."""
    code = 1
    try:
        libc.die_with_parent()
        with os.fdopen(plan, "rb") as file:
            file.seek(0)
            wanted = json.load(file)
        libc.setns(network, libc.CLONE_NEWNET)
        os.close(network)
        fence.enter(wanted)
        # Once more: the kernel forgets it where a process changes what it may do.
        libc.die_with_parent()
        control.send(b'{"ready":true}')
        Init(control).run()
        code = 0
    except OSError as error:
        control.send(json.dumps({"broken": str(error)}).encode())
    finally:
        os._exit(code)


class Init:
    """A pod's process 1.

    Args:
        control: The cluster's end.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._commands: dict[int, int] = {}
        # Command → its end of its terminal, until it starts.
        self._terminals: dict[int, int] = {}
        wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)

    def run(self) -> None:
        """Work until the cluster's end is closed."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                    continue
                message, descriptors = receive(self._control)
                if not message:
                    return
                self._do(json.loads(message), descriptors)
            self._collect()

    def _do(self, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            if message["do"] == "start":
                self._start(message, descriptors)
            elif message["do"] == "terminal":
                self._open_terminal(message["id"], message["uid"])
            else:
                self._signal(message["id"], message["signal"], everyone=message["all"])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _open_terminal(self, command: int, uid: int) -> None:
        """Open a terminal for a command that is to start, as its user's, and hand the cluster's end over."""
        try:
            os.seteuid(uid)
            try:
                ours, theirs = os.openpty()
            finally:
                os.seteuid(0)
                # The kernel forgot it with the change of user.
                libc.die_with_parent()
            self._terminals[command] = theirs
            try:
                socket.send_fds(self._control, [json.dumps({"terminal": command}).encode()], [ours])
            finally:
                os.close(ours)
        except OSError as error:
            self._tell(id=command, failed=f"no terminal: {error}")

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        terminal = self._terminals.pop(message["id"], None)
        if terminal is not None:
            # To be closed with the others.
            descriptors.insert(0, terminal)
        said, say = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            self._become(message, descriptors, say)
        os.close(say)
        with os.fdopen(said, "rb") as file:
            failure = file.read()
        if failure:
            os.waitpid(child, 0)
            self._tell(id=message["id"], failed=failure.decode())
            return
        self._commands[child] = message["id"]
        self._tell(id=message["id"], started=child)

    def _become(self, message: dict[str, Any], descriptors: list[int], say: int) -> None:
        """Become a command; never returns."""
        argv = message["argv"]
        try:
            os.setsid()
            terminal = message["streams"] == 0
            for descriptor in descriptors[message["streams"] or 1 :]:
                # The control groups that it is to be in: "0" is whoever writes it.
                os.write(descriptor, b"0")
            streams = descriptors[:1] * 3 if terminal else descriptors[:3]
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(message["directory"])
            fence.drop(message["uid"], message["gid"], message["groups"])
            os.execvpe(argv[0], argv, message["environment"])  # noqa: S606 - what the pod's spec says
        except OSError as error:
            missing = error.errno == errno.ENOENT and "/" not in argv[0]
            why = "executable file not found in $PATH" if missing else str(error.strerror or error).lower()
            os.write(say, f'exec: "{argv[0]}": {why}'.encode())
        os._exit(_NOT_STARTED)

    def _signal(self, command: int, number: int, *, everyone: bool) -> None:
        for process, known in self._commands.items():
            if known == command:
                # Each command leads a session, whose processes are one group unless they made others.
                (os.killpg if everyone else os.kill)(process, number)

    def _collect(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            command = self._commands.pop(process, None)
            if command is not None:
                with suppress(ProcessLookupError):
                    # What it left behind ends with it, as in a container.
                    os.killpg(process, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                self._tell(id=command, ended=code if code >= 0 else 128 - code)

    def _tell(self, **what: int | str) -> None:
        self._control.send(json.dumps(what).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
