"""Applications of this machine that stand in for modelled pods: when they are wanted, and where they are.

They run in a process of their own, that is started once a mapped port leads to such pods, and tells its ports through the
control endpoint, `PUT /kubedyno/apps`.
"""

import asyncio
from collections.abc import Callable

import orjson

from kubedyno.base import aio
from kubedyno.cluster.assembly.ports import GRAFANA, PROMETHEUS, VIEW, Doors
from kubedyno.http.messages import Request, Responder
from kubedyno.kube.status import BadRequest, MethodNotAllowed

# Between two looks whether they are wanted.
_LOOK_S = 1.0
_KNOWN = frozenset({GRAFANA, PROMETHEUS, VIEW})


class StandIns:
    """Watches for pods that are stood in for.

    Args:
        doors: The mapped ports.
        apps: Application → its port; filled here.
        start: Starts them; called once.
    """

    def __init__(self, doors: Doors, apps: dict[str, int], start: Callable[[], None]) -> None:
        self._doors = doors
        self._apps = apps
        self._start = start
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Look from now on."""
        self._task = asyncio.get_running_loop().create_task(self._look())

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        while not self._doors.wanted():
            await aio.sleep(_LOOK_S)
        self._start()

    def announce(self, request: Request, responder: Responder, parts: list[str]) -> None:
        """Answer /kubedyno/apps: the ports that the applications have, or are said to have.

        Raises:
            BadRequest: It is no mapping of known names to ports.
        """
        _ = parts
        if request.method == "PUT":
            try:
                given = orjson.loads(request.body)
            except orjson.JSONDecodeError as error:
                raise BadRequest(f"no JSON: {error}") from error
            valid = isinstance(given, dict) and all(
                name in _KNOWN and isinstance(port, int) and 0 < port < 1 << 16 for name, port in given.items()
            )
            if not valid:
                raise BadRequest(f"must map {', '.join(sorted(_KNOWN))} to ports")
            self._apps.clear()
            self._apps.update(given)
        elif request.method != "GET":
            raise MethodNotAllowed(f"{request.path} takes GET and PUT only, not {request.method}")
        responder.send(200, "application/json", orjson.dumps(self._apps))
