"""What a scenario wants to be seen, counted: pods, objects, events."""

from typing import Any

from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.kube.resources import EVENTS, PODS
from kubedyno.lab.simulation.broken import Broken
from kubedyno.lab.simulation.client import Client
from kubedyno.lab.simulation.scenario import Expectation
from kubedyno.lab.simulation.world import World

Json = dict[str, Any]


def unmet(world: World, client: Client, expectation: Expectation) -> Broken | None:
    """Return what is to be said of an expectation that is not met, None when it is.

    Raises:
        StepError: It names a kind that there is not, or its selector is none.
    """
    count = counted(world, client, expectation)
    low, high = expectation.low, expectation.high
    if count >= low and (high is None or count <= high):
        return None
    wanted = str(low) if low == high else f"at least {low}" if high is None else f"{low} to {high}"
    shown = ", ".join(
        f"{key} {value}" for key, value in expectation.value.items() if key not in {"is", "atLeast", "atMost"}
    )
    return Broken("expectation", f"{expectation.place}: {shown}: {count}, not {wanted}", world.now_s)


def counted(world: World, client: Client, expectation: Expectation) -> int:
    """Return how many there are."""
    value = expectation.value
    namespace = str(value.get("namespace", ""))
    if expectation.what == "events":
        return _events(world, str(value["events"]), namespace, str(value.get("contains", "")))
    resource = PODS if expectation.what == "pods" else client.resource(str(value["objects"]))
    selector = value.get("selector")
    if selector is None and isinstance(value.get("pods"), str):
        selector = value["pods"]
    records = client.select(resource, namespace, str(selector or ""))
    if resource is not PODS:
        return len(records)
    return sum(_is_wanted(record.obj.facts, value) for record in records)


def _is_wanted(facts: PodFacts, value: Json) -> bool:
    if "phase" in value and facts.phase != value["phase"]:
        return False
    if "node" in value and facts.node_name != value["node"]:
        return False
    return "ready" not in value or facts.ready is bool(value["ready"])


def _events(world: World, reason: str, namespace: str, contains: str) -> int:
    store = world.store
    found = 0
    for record in store.list(EVENTS, namespace):
        event = store.encode_dict(EVENTS, record)
        if event.get("reason") == reason and contains in (event.get("message") or ""):
            found += 1
    return found
