"""A client of the simulated cluster: what kubectl would do, through the registry, with its patience.

Writes pass the same gate as those of the cluster's parts; what is refused for a while is tried again.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from kubedyno.base import aio
from kubedyno.cluster.registry.eviction import evict
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.patch import merge_patch
from kubedyno.kube.resources import NODES, PODS, Resource, by_kind
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError
from kubedyno.lab.simulation.world import World

Json = dict[str, Any]
T = TypeVar("T")

# Between two tries of a write that was refused, and for how long it is tried.
RETRY_S, PATIENCE_S = 1.0, 600.0
_AGAIN = frozenset({409, 429, 500, 503, 504})
# kubectl tries an eviction that a budget forbids again after so long.
_FORBIDDEN_S = 5.0
_MIRROR = "kubernetes.io/config.mirror"


class StepError(Exception):
    """A step cannot be done: "what, why"."""


class Client:
    """Does what steps say.

    Args:
        world: The cluster.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def write(self, verb: str, resource: Resource, name: str, do: Callable[[], T]) -> T:
        """Write something, again while the server has trouble.

        Raises:
            StatusError: It says no, or has trouble for too long.
        """
        end_s = self._world.now_s + PATIENCE_S
        lost = False
        while True:
            try:
                return self._world.gate.write("clients", verb, resource, name, do)
            except StatusError as error:
                if lost and error.reason in {"AlreadyExists", "NotFound"}:
                    # What was asked for has been done; only its answer was lost.
                    raise DoneBefore from error
                if error.code not in _AGAIN or error.reason == "AlreadyExists" or self._world.now_s >= end_s:
                    raise
                lost = lost or error.code == 504
            await aio.sleep(RETRY_S)

    def resource(self, name: str) -> Resource:
        """Return what "deployment", "deployments", "deploy" or "Deployment" stands for.

        Raises:
            StepError: Nothing is called so.
        """
        wanted = name.lower()
        for resource in self._world.store.resources:
            if wanted in {resource.singular, resource.plural, *resource.short_names}:
                return resource
        raise StepError(f"there is no kind {name!r}")

    def split(self, text: str) -> tuple[Resource, str]:
        """Return the resource and name of e.g. deployment/web.

        Raises:
            StepError: It is none.
        """
        kind, slash, name = text.partition("/")
        if not slash or not name:
            raise StepError(f"{text!r} is no KIND/NAME such as deployment/web")
        return self.resource(kind), name

    def record(self, resource: Resource, namespace: str, name: str) -> ObjectRecord | None:
        """Return an object, None when it is not there."""
        return self._world.store.get(resource, key_of(namespace if resource.namespaced else "", name))

    # --- what kubectl does -----------------------------------------------------------------------------------------

    async def apply(self, obj: Json, namespace: str) -> ObjectRecord | None:
        """Create an object, or make the one of its name what it says.

        Raises:
            StepError: It is of no kind that is served.
            StatusError: The server says no.
        """
        resource, name, namespace = self.identify(obj, namespace)

        def do() -> ObjectRecord:
            registry = self._world.cluster.registry
            if name and self.record(resource, namespace, name) is not None:
                return registry.modify(resource, namespace, name, lambda old: _merged(old, obj), manager="simulate")
            return registry.create(resource, namespace, obj, manager="simulate")

        verb = "create" if not name or self.record(resource, namespace, name) is None else "update"
        try:
            return await self.write(verb, resource, name, do)
        except DoneBefore:
            return self.record(resource, namespace, name)

    def identify(self, obj: Json, namespace: str) -> tuple[Resource, str, str]:
        """Return what an object is, its name and its namespace.

        Raises:
            StepError: It is of no kind that is served.
        """
        version, kind = obj.get("apiVersion"), obj.get("kind")
        resource = by_kind(str(version), str(kind)) or self._world.cluster.registry.resource_of(str(version), str(kind))
        if resource is None:
            raise StepError(f"there is no kind {kind!r} in {version!r}")
        metadata = obj.get("metadata") or {}
        where = str(metadata.get("namespace") or namespace) if resource.namespaced else ""
        return resource, str(metadata.get("name") or ""), where

    async def create(self, obj: Json, namespace: str) -> None:
        """Create an object.

        Raises:
            StepError: It is of no kind that is served.
            StatusError: The server says no.
        """
        resource, name, where = self.identify(obj, namespace)
        registry = self._world.cluster
        try:
            await self.write(
                "create", resource, name, lambda: registry.registry.create(resource, where, obj, manager="simulate")
            )
        except DoneBefore:
            return

    async def change(self, resource: Resource, namespace: str, name: str, change: Callable[[Json], Json]) -> None:
        """Change an object by a function of what it is.

        Raises:
            StatusError: The server says no.
        """
        where = namespace if resource.namespaced else ""
        await self.write(
            "update",
            resource,
            name,
            lambda: self._world.cluster.registry.modify(resource, where, name, change, manager="simulate"),
        )

    async def delete(self, resource: Resource, namespace: str, name: str, options: Json) -> None:
        """Delete an object; that it is gone already is as good.

        Raises:
            StatusError: The server says no.
        """
        where = namespace if resource.namespaced else ""
        try:
            await self.write(
                "delete", resource, name, lambda: self._world.cluster.registry.delete(resource, where, name, options)
            )
        except DoneBefore:
            return
        except StatusError as error:
            if error.code != 404:
                raise

    def select(self, resource: Resource, namespace: str, selector: str) -> list[ObjectRecord]:
        """Return the objects that a label selector means.

        Raises:
            StepError: It is none.
        """
        try:
            wanted = LabelSelector.parse(selector)
        except ValueError as error:
            raise StepError(f"selector {selector!r}: {error}") from error
        return [r for r in self._world.store.list(resource, namespace) if wanted.matches(r.obj.labels)]

    # --- nodes -----------------------------------------------------------------------------------------------------

    async def cordon(self, node: str, *, on: bool) -> None:
        """Let no new pods onto a node, or let them again.

        Raises:
            StatusError: There is no such node.
        """

        def change(obj: Json) -> Json:
            obj["spec"].pop("unschedulable", None)
            if on:
                obj["spec"]["unschedulable"] = True
            return obj

        await self.change(NODES, "", node, change)

    async def drain(self, node: str, timeout_s: float) -> int:
        """Cordon a node and evict its pods, as kubectl drain --ignore-daemonsets --force does.

        Returns:
            How many went.

        Raises:
            StepError: Some were still there after the time.
        """
        await self.cordon(node, on=True)
        world = self._world
        end_s = world.now_s + timeout_s
        table = world.store.table(PODS)
        leaving = {pod.obj.uid: pod.key for pod in table.by_index("node", node) if not self._stays(pod)}
        count = len(leaving)
        asked: set[str] = set()
        while leaving:
            forbidden = False
            for uid, key in leaving.items():
                if uid not in asked:
                    if await self._evict(key, uid):
                        asked.add(uid)
                    else:
                        forbidden = True
            await aio.sleep(_FORBIDDEN_S if forbidden else RETRY_S)
            table = world.store.table(PODS)
            found = {uid: table.get(key) for uid, key in leaving.items()}
            leaving = {uid: pod.key for uid, pod in found.items() if pod is not None and pod.obj.uid == uid}
            if leaving and world.now_s >= end_s:
                names = ", ".join(sorted(leaving.values())[:3])
                raise StepError(f"node {node}: {len(leaving)} pods are still there after {timeout_s:g} s: {names}")
        return count

    def _stays(self, pod: ObjectRecord) -> bool:
        obj = self._world.store.encode_dict(PODS, pod)["metadata"]
        owners = obj.get("ownerReferences") or ()
        of_daemon_set = any(one.get("controller") and one["kind"] == "DaemonSet" for one in owners)
        return _MIRROR in (obj.get("annotations") or {}) or (of_daemon_set and pod.obj.facts.phase not in ENDED)

    async def _evict(self, key: str, uid: str) -> bool:
        namespace, _, name = key.partition("/")
        options = {"preconditions": {"uid": uid}}
        world = self._world
        try:
            world.gate.write(
                "clients", "create", PODS, name, lambda: evict(world.cluster.registry, namespace, name, options)
            )
        except StatusError as error:
            if error.code in {429, 500, 503, 504}:
                return False
            if error.code not in {404, 409}:
                raise
        return True


class DoneBefore(Exception):
    """A write whose answer was lost has been done."""


def _merged(old: Json, wanted: Json) -> Json:
    merged: Json = merge_patch(old, wanted)
    return merged
