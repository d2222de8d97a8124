"""What a scenario does, step by step, and what it waits for."""

import fnmatch
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.cluster.settings import NodeSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube import yaml
from kubedyno.kube.resources import DEPLOYMENTS, JOBS, NODES, PODS, Resource
from kubedyno.kube.status import StatusError
from kubedyno.lab.settings import class_of
from kubedyno.lab.simulation.client import Client, StepError
from kubedyno.lab.simulation.convergence import View
from kubedyno.lab.simulation.scenario import Scenario, Step, seconds_of
from kubedyno.lab.simulation.world import World
from kubedyno.load.plan.gotemplate.errors import FunctionError, TemplateError
from kubedyno.load.plan.gotemplate.execute import Template

Json = dict[str, Any]
_WAIT_S = 600.0
_POLL_S = 1.0
_FINISHED = frozenset({"Complete", "Failed"})


class Steps:
    """Does steps.

    Args:
        scenario: Whose they are; files are found beside it.
        world: To whom they are done.
        tell: Gets a line of what was done.
    """

    def __init__(self, scenario: Scenario, world: World, tell: Callable[[str], None]) -> None:
        self._scenario = scenario
        self._world = world
        self._tell = tell
        self.client = Client(world)
        self._folder = Path(scenario.path).parent
        self._templates: dict[str, Template] = {}
        self._verbs: dict[str, Callable[[Any], Awaitable[None]]] = {
            "apply": self._apply, "create": self._create, "scale": self._scale, "patch": self._patch,
            "delete": self._delete, "drain": self._drain, "cordon": self._cordon, "uncordon": self._uncordon,
            "node": self.node, "wait": self._wait, "pause": self._pause, "restart": self._restart, "skew": self.skew,
        }  # fmt: skip

    async def do(self, step: Step) -> None:
        """Do one.

        Raises:
            StepError: It cannot be done, or what it waits for does not come.
        """
        try:
            await self._verbs[step.verb](step.value)
        except StepError as error:
            raise StepError(f"{step.place}: {step.verb}: {error}") from error
        except StatusError as error:
            raise StepError(
                f"{step.place}: {step.verb}: the API server answers {error.code}: {error.message}"
            ) from error

    # --- objects -----------------------------------------------------------------------------------------------

    def documents(self, what: Any, values: Json) -> list[Json]:
        """Return the objects of a file beside the scenario, of one object, or of several.

        Raises:
            StepError: There are none, or they cannot be read.
        """
        if isinstance(what, list):
            return [obj for one in what for obj in self.documents(one, values)]
        if isinstance(what, str):
            path = self._folder / what
            try:
                text = path.read_text(encoding="utf-8")
            except OSError as error:
                raise StepError(f"{path}: cannot be read ({error.strerror})") from error
        elif isinstance(what, dict):
            path, text = Path(self._scenario.path), orjson.dumps(what).decode()
        else:
            raise StepError("must be a file, an object, or a list of these")
        try:
            template = self._templates.get(text)
            if template is None:
                template = self._templates[text] = Template(text, missing_key_error=True)
            found = yaml.load_all(template.render(values), str(path))
        except (TemplateError, FunctionError, ValueError) as error:
            raise StepError(f"{path}: {error}") from error
        objects = [orjson.loads(orjson.dumps(one)) for one in found if one]
        if not objects or not all(isinstance(one, dict) for one in objects):
            raise StepError(f"{path}: holds no objects")
        return objects

    async def _apply(self, value: Any) -> None:
        objects = self.documents(value, self._values(0))
        for obj in objects:
            await self.client.apply(obj, "default")
        self._tell(f"apply: {_names(objects)}")

    def _values(self, iteration: int) -> Json:
        return {"Iteration": iteration, "Replica": iteration + 1, "Seed": self._world.settings.seed}

    async def _create(self, value: Json) -> None:
        count, every_s = int(value.get("count", 1)), seconds_of(str(value.get("every", "0s")))
        namespace = str(value.get("namespace", "default"))
        made = refused = 0
        why = ""
        for iteration in range(count):
            for obj in self.documents(value["template"], self._values(iteration)):
                try:
                    await self.client.create(obj, namespace)
                    made += 1
                except StatusError as error:
                    # A flood goes on where single objects are refused, by a quota for example.
                    if error.code != 403:
                        raise
                    refused, why = refused + 1, error.message
            if every_s:
                await aio.sleep(every_s)
        self._tell(f"create: {made} objects" + (f", {refused} refused ({why})" if refused else ""))

    async def _scale(self, value: Json) -> None:
        resource, name = self.client.split(str(value["object"]))
        replicas = int(value["replicas"])

        def change(obj: Json) -> Json:
            obj["spec"]["replicas"] = replicas
            return obj

        await self.client.change(resource, str(value.get("namespace", "default")), name, change)
        self._tell(f"scale {value['object']} to {replicas}")

    async def _patch(self, value: Json) -> None:
        from kubedyno.kube.strategicpatch import strategic_merge_patch  # noqa: PLC0415 - brings the schemas of all kinds

        resource, name = self.client.split(str(value["object"]))
        patch = self.documents(value["patch"], self._values(0))[0]
        namespace = str(value.get("namespace", "default"))
        await self.client.change(resource, namespace, name, lambda obj: strategic_merge_patch(obj, patch, resource))
        self._tell(f"patch {value['object']}")

    async def _delete(self, value: Json) -> None:
        options: Json = {}
        if "propagation" in value:
            options["propagationPolicy"] = value["propagation"]
        if "grace" in value:
            options["gracePeriodSeconds"] = int(value["grace"])
        namespace, text = str(value.get("namespace", "default")), str(value["object"])
        if "selector" in value:
            resource = self.client.resource(text)
            names = [record.obj.name for record in self.client.select(resource, namespace, str(value["selector"]))]
        else:
            resource, name = self.client.split(text)
            names = [name]
        for name in names:
            await self.client.delete(resource, namespace, name, options)
        self._tell(f"delete {text}: {len(names)}")

    # --- nodes -------------------------------------------------------------------------------------------------

    def nodes(self, value: Json) -> list[str]:
        """Return the nodes that a step means: by name or pattern, or some of them, picked by the seed.

        Raises:
            StepError: There is none.
        """
        pattern = str(value.get("node", "*"))
        names = self._world.cluster.nodes.names()
        found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if "pick" in value:
            planes = {one.name for one in self._world.settings.nodes if one.control_plane}
            found = [name for name in found if name not in planes] or found
            found = sorted(self._world.random.sample(found, min(int(value["pick"]), len(found))))
        if not found:
            raise StepError(f"there is no node {pattern}; there are {', '.join(names[:5])}{' …' if names[5:] else ''}")
        return found

    async def _drain(self, value: Json) -> None:
        for node in self.nodes(value):
            self._tell(f"drain {node}")
            count = await self.client.drain(node, seconds_of(str(value.get("timeout", "10m"))))
            self._tell(f"drain {node}: {count} pods have gone")

    async def _cordon(self, value: Json) -> None:
        for node in self.nodes(value):
            await self.client.cordon(node, on=True)
            self._tell(f"cordon {node}")

    async def _uncordon(self, value: Json) -> None:
        for node in self.nodes(value):
            await self.client.cordon(node, on=False)
            self._tell(f"uncordon {node}")

    async def node(self, value: Json) -> None:
        """Have something happen to nodes, for a while or for good."""
        do = str(value["do"])
        if do == "add":
            self._add(value)
            return
        done = self._all(self.nodes(value), do, value)
        if "for" in value:
            await aio.sleep(seconds_of(str(value["for"])))
            back = {
                "kill": "start",
                "shutdown": "start",
                "not-ready": "ready",
                "pressure": "ready",
                "slow": "slow",
            }.get(do)
            if back is not None:
                known = set(self._world.cluster.nodes.names())
                self._all([name for name in done if name in known], back, {"factor": 1})

    def _all(self, names: list[str], do: str, value: Json) -> list[str]:
        """Do something to nodes; returns those to which it was done, as two faults may meet."""
        done: list[str] = []
        kept: list[str] = []
        for name in names:
            (kept if self._node(name, do, value) else done).append(name)
        if done:
            self._tell(f"{do} {_listed(done)}")
        if kept:
            self._tell(f"{do} {_listed(kept)}: not now")
        return done

    def _node(self, name: str, do: str, value: Json) -> str:
        """Do something to a node; returns why that cannot be now, "" when it was done."""
        cluster = self._world.cluster
        nodes, machines = cluster.nodes, cluster.nodes.machines
        try:
            if do == "restart":
                if "maxPods" in value:
                    text = nodes.config_text(name)
                    kept = [line for line in text.splitlines() if not line.startswith("maxPods:")]
                    nodes.write_config(name, "\n".join([*kept, f"maxPods: {int(value['maxPods'])}", ""]))
                nodes.restart(name)
            elif do == "slow":
                machines.slow(name, float(value.get("factor", 10)))
            elif do == "pressure":
                machines.pressure(name, str(value.get("what", "memory")))
            else:
                calls = {
                    "kill": machines.kill, "start": machines.start, "ready": machines.ready,
                    "shutdown": machines.shut_down, "remove": machines.remove,
                }  # fmt: skip
                machines.not_ready(name) if do == "not-ready" else calls[do](name)
        except (ValueError, KeyError, StatusError) as error:
            return str(error) or do
        return ""

    def _add(self, value: Json) -> None:
        name = str(value.get("node", ""))
        _, _, labels = class_of("class", str(value["class"])) if "class" in value else ("", 1, ())
        try:
            self._world.cluster.nodes.add(NodeSettings(name, labels=labels), later=True)
        except ValueError as error:
            raise StepError(str(error)) from error
        self._tell(f"add {name}")

    # --- time --------------------------------------------------------------------------------------------------

    async def _pause(self, value: Any) -> None:
        await aio.sleep(seconds_of(str(value)))

    async def _restart(self, _value: Any) -> None:
        self._world.restart()
        self._tell("the cluster was killed and has started again from its journal")

    async def skew(self, value: Json) -> None:
        """Put the cluster's wall clock off, for a while or for good."""
        text = str(value["by"])
        by_s = -seconds_of(text[1:]) if text.startswith("-") else seconds_of(text)
        self._world.clock.skew(by_s)
        self._tell(f"the wall clock is off by {by_s:+g} s")
        if "for" in value:
            await aio.sleep(seconds_of(str(value["for"])))
            self._world.clock.skew(0.0)
            self._tell("the wall clock is right again")

    # --- waiting -----------------------------------------------------------------------------------------------

    async def _wait(self, value: Json) -> None:
        wanted = str(value["for"])
        end_s = self._world.now_s + (seconds_of(str(value["timeout"])) if "timeout" in value else _WAIT_S)
        began_s = self._world.now_s
        while (why := self._missing(wanted, value)) is not None:
            if self._world.now_s >= end_s:
                raise StepError(f"for {wanted} in vain for {self._world.now_s - began_s:g} s: {why}")
            await aio.sleep(_POLL_S)
        about = f" {value['object']}" if "object" in value else ""
        self._tell(f"waited for {wanted}{about}: {self._world.now_s - began_s:.0f} s")

    def _missing(self, wanted: str, value: Json) -> str | None:
        """Return why a wait has to go on, None when it is over."""
        if wanted == "converged":
            found = View(self._world, allow_pending=self._scenario.allow_pending).problems()
            return found[0][1] if found else None
        namespace = str(value.get("namespace", "default"))
        if wanted in {"running", "pods"}:
            records = self.client.select(PODS, namespace, str(value.get("selector", "")))
            got = len(records) if wanted == "pods" else sum(r.obj.facts.phase == "Running" for r in records)
            count = int(value.get("count", 1 if wanted == "running" else 0))
            return None if (got >= count if wanted == "running" else got == count) else f"there are {got} of {count}"
        text = str(value.get("object", "node" if wanted == "ready" else "deployment"))
        kind, _, name = text.partition("/")
        resource = self.client.resource(kind)
        where = namespace if resource.namespaced else ""
        if name:
            record = self.client.record(resource, namespace, name)
            records = [record] if record is not None else []
            if wanted == "gone":
                return None if record is None else f"{text} is still there"
            if record is None:
                return f"there is no {text}"
        else:
            records = self.client.select(resource, where, str(value.get("selector", "")))
            if wanted == "gone":
                return None if not records else f"{len(records)} {resource.plural} are still there"
        for record in records:
            why = self._unmet(wanted, resource, record)
            if why is not None:
                return why
        return None

    def _unmet(self, wanted: str, resource: Resource, record: ObjectRecord) -> str | None:
        obj = self._world.store.encode_dict(resource, record, managed=False)
        status = obj.get("status", {})
        conditions = {one["type"] for one in status.get("conditions", ()) if one["status"] == "True"}
        if wanted == "complete" or resource is JOBS:
            return None if conditions & _FINISHED else f"{resource.singular} {record.key} is not over"
        if wanted == "ready" and resource in {NODES, PODS}:
            return None if "Ready" in conditions else f"{resource.singular} {record.key} is not Ready"
        replicas = obj["spec"].get("replicas", status.get("desiredNumberScheduled", 1))
        ready = status.get("availableReplicas", status.get("numberAvailable", 0))
        if resource is not DEPLOYMENTS and "readyReplicas" in status:
            ready = status["readyReplicas"]
        late = status.get("observedGeneration", 0) != obj["metadata"].get("generation")
        updated = status.get("updatedReplicas", status.get("updatedNumberScheduled", replicas))
        if late or ready != replicas or updated != replicas:
            return f"{resource.singular} {record.key} has {ready} of {replicas} ({updated} updated)"
        return None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _names(objects: list[Json]) -> str:
    names = [f"{obj.get('kind', '?').lower()}/{(obj.get('metadata') or {}).get('name', '')}" for obj in objects]
    return _listed(names)
