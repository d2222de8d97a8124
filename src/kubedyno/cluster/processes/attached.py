"""A client at a container's own process, which it shares with the container's log and with other clients."""

from collections.abc import Callable

from kubedyno.cluster.processes.link import Command


class Attached:
    """A `cluster.runtime.Process` that is somebody else's.

    Args:
        command: The container's.
        clients: All that are at it; this one leaves them when it closes.
        input_ends: The end of this client's input is the end of the command's (`stdinOnce`).
    """

    def __init__(self, command: Command, clients: "list[Attached]", *, input_ends: bool) -> None:
        self.on_output: Callable[[int, bytes], None] | None = None
        self.on_exit: Callable[[int], None] | None = None
        self._command = command
        self._clients = clients
        self._input_ends = input_ends
        clients.append(self)

    def write(self, data: bytes) -> None:
        """Give the command input."""
        self._command.write(data)

    @property
    def unread(self) -> int:
        """Bytes of input that the command has not read yet."""
        return self._command.unread

    def when_read(self, call: Callable[[], None]) -> None:
        """Call once it has read all that it was given, or reads no more."""
        self._command.when_read(call)

    def close_input(self) -> None:
        """End the command's input where that is this client's alone."""
        if self._input_ends:
            self._command.close_input()

    def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size."""
        self._command.resize(columns, rows)

    def pause(self) -> None:
        """Do nothing: a container's output goes to its log and to other clients too."""

    def resume(self) -> None:
        """Do nothing, as `pause`."""

    def close(self) -> None:
        """Leave the command to the others."""
        self.on_output = self.on_exit = None
        if self in self._clients:
            self._clients.remove(self)
