"""The embedded cluster's own process, from its settings to its end.

Started by `embedded.up` only, through `boot`. Says one JSON line on READY_FD, `{"port": …}` or `{"error": …}`, and then serves
until it is told to stop or was idle for too long. Its folder goes with it.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly import processes
from kubedyno.cluster.assembly import server as assembly
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.lab.apps import Apps
from kubedyno.lab.stagelanguage import StageLanguage


def main(arguments: list[str]) -> int:
    """Serve the cluster of a state directory; returns the process's exit code."""
    directory, ready_fd = Path(arguments[0]), int(arguments[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = msgspec.json.decode((directory / "settings.json").read_bytes(), type=ClusterSettings)

    def say(message: dict[str, Any]) -> None:
        os.write(ready_fd, msgspec.json.encode(message) + b"\n")
        os.close(ready_fd)

    def ready(facts: dict[str, Any]) -> None:
        draft = directory / "state.json.part"
        draft.write_bytes(msgspec.json.encode({"pid": os.getpid(), "name": settings.name, **facts}))
        draft.replace(directory / "state.json")
        say({"port": facts["port"]})

    apps = Apps()
    try:
        # A fork is safe only from a process without threads: the helper is started before the loop may have any.
        beginning = processes.started(settings)
        aio.run(
            assembly.serve(
                settings,
                state_dir=directory,
                ready=ready,
                beginning=beginning,
                start_apps=lambda: apps.start(directory),
                language=StageLanguage(),
            )
        )
    except KubedynoError as error:
        # Whoever started it reads the line, and removes the folder with the log in it.
        say({"error": str(error)})
        return error.exit_code
    finally:
        apps.stop()
    # After an idle time-out nobody else is there to tidy up.
    shutil.rmtree(directory, ignore_errors=True)
    return 0
