"""The process of an embedded cluster's applications, from its start to its end.

The applications are pages (`web.apps`), which nothing below may import; so their module is named, not imported.
"""

import subprocess
import sys
from pathlib import Path

from kubedyno.base.log import logger

_MODULE = "kubedyno.web.apps"
_STOP_S = 3.0


class Apps:
    """At most one process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, directory: Path) -> None:
        """Start it for the cluster of a state directory; its log lies there."""
        with (directory / "apps.log").open("wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-m", _MODULE, str(directory)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                )
            except OSError as error:
                logger(__name__).warning("the pages at mapped ports cannot be started: %s", error)

    def stop(self) -> None:
        """End it."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
