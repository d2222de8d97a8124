"""A process with an API server as a cluster has it, and nothing behind it: what a request costs, and not what it sets off.

`python -m benchmarks.apihost FOLDER [--busy]` prints its port and the path of its authority's certificate. Three users
are known: an administrator, and two that share a priority level.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, MASTERS, Authenticator, User
from kubedyno.cluster.apiserver.flowcontrol.gate import GROUP, FlowControl
from kubedyno.cluster.apiserver.lifetime import Lifetimes
from kubedyno.cluster.apiserver.server import LIMITS, ApiServer
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.http import tls
from kubedyno.http.answers import Stamps
from kubedyno.http.server import serve
from kubedyno.kube.resources import NAMESPACES, SERVICEACCOUNTS, by_kind

TOKEN = "bench"
# Of two users without privileges: one makes a flood, the other one suffers from it.
FLOOD, CALM = "flood", "calm"
NAMESPACE = "bench"


async def host(folder: Path, *, busy: bool) -> None:
    """Serve until standard input ends."""
    settings = ClusterSettings(authorization="AlwaysAllow")
    store = Store(SYSTEM_CLOCK)
    registry = Registry(store, SYSTEM_CLOCK, Random(1), settings)
    pump = Pump(SYSTEM_CLOCK)
    users = {TOKEN: User("bench", (MASTERS,))} | {name: User(name, (AUTHENTICATED,)) for name in (FLOOD, CALM)}
    authenticator = Authenticator(users)
    api = ApiServer(
        registry,
        pump,
        settings,
        authenticator,
        address="127.0.0.1",
        control=lambda _request, _responder, _user: False,
    )
    registry.create(NAMESPACES, "", {"metadata": {"name": NAMESPACE}})
    registry.create(SERVICEACCOUNTS, NAMESPACE, {"metadata": {"name": "default"}})
    authority = tls.Authority()
    for document in bootstrap_objects():
        resource = by_kind(document["apiVersion"], document["kind"])
        if resource is not None and resource.group == GROUP:
            registry.create(resource, "", document)
    flow = FlowControl(
        lambda: api.app,
        api.user_of,
        store,
        seats=settings.max_inflight + settings.max_mutating_inflight,
        now_s=SYSTEM_CLOCK.monotonic,
    )
    context = tls.server_context(authority.server(("127.0.0.1",)), authority.certificate)
    lifetimes = Lifetimes(lambda: flow.app, api.ended)
    server = await serve(lifetimes.app, "127.0.0.1", 0, context, LIMITS)
    server.stamps = Stamps(SYSTEM_CLOCK.now, Random(2).uid())
    flow.join(server)
    pump.in_use = server.in_use
    if busy:
        pump.worker("busy", _spin).wake()
    path = folder / "ca.pem"
    path.write_bytes(authority.certificate)
    print(server.port, path, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    lifetimes.stop()
    flow.stop()
    api.close()
    pump.stop()
    await server.close()


def _spin(limit: int) -> bool:
    """Work as a controller that has always more to do: 16 items of some 30 µs."""
    for _ in range(limit):
        sum(range(2000))
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--busy", action="store_true")
    arguments = parser.parse_args()
    aio.run(host(arguments.folder, busy=arguments.busy))
