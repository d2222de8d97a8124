"""`python -m kubedyno.kernel.leash COMMAND…`: become COMMAND, and die when the process that started this dies.

Without it, a server whose starter was killed would wait for a client for ever.
"""

import os
import sys

from kubedyno.kernel.libc import die_with_parent


def main(command: list[str]) -> None:
    """Tie this process to its parent, then become the command.

    Raises:
        OSError: The command cannot be run.
    """
    die_with_parent()
    os.execvp(command[0], command)  # noqa: S606 - that is all there is to do


if __name__ == "__main__":
    main(sys.argv[1:])
