"""How welcome a pod is on a node: the default plugins with their weights, in whole points as the real ones.

Image locality does not count (no image sizes are modelled), nor do a Service's implicit spreading defaults.
"""

from collections.abc import Callable, Sequence

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints
from kubedyno.cluster.scheduler.filters import soft_taints
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo, scored_requests
from kubedyno.cluster.scheduler.topology import Topology

MAX_SCORE = 100
# Weights of pkg/scheduler/apis/config/v1/default_plugins.go; the two about resources have 1.
TAINTS_WEIGHT = 3
NODE_AFFINITY_WEIGHT = 2
SPREAD_WEIGHT = 2
POD_AFFINITY_WEIGHT = 2

# Points, to be maximised, then the allocated share, to be minimised, then the order in which nodes came.
Rank = tuple[int, float, int]


def resource_rank(spec: PodSpecFacts) -> Callable[[NodeInfo], Rank]:
    """Return the function that ranks a node for pods of that spec by resources alone; the smallest rank is the best.

    LeastAllocated counts a default for pods without requests; BalancedAllocation counts requests as they are, and
    leaves pods without any alone.
    """
    scored_cpu, scored_memory = scored_requests(spec)
    cpu, memory = spec.cpu_milli, spec.memory_bytes
    best_effort = not (cpu or memory or spec.extra_requests)

    def rank(node: NodeInfo) -> Rank:
        facts = node.facts
        cpu_capacity, memory_capacity = facts.cpu_milli, facts.memory_bytes
        points = resources = 0
        share = 0.0
        if cpu_capacity:
            resources += 1
            free = cpu_capacity - node.scored_cpu_milli - scored_cpu
            share += 1.0 - free / cpu_capacity
            if free > 0:
                points += free * MAX_SCORE // cpu_capacity
        if memory_capacity:
            resources += 1
            free = memory_capacity - node.scored_memory_bytes - scored_memory
            share += 1.0 - free / memory_capacity
            if free > 0:
                points += free * MAX_SCORE // memory_capacity
        if resources == 2:
            points //= 2
            if not best_effort:
                cpu_share = min(1.0, (node.cpu_milli + cpu) / cpu_capacity)
                memory_share = min(1.0, (node.memory_bytes + memory) / memory_capacity)
                points += int((1.0 - abs(cpu_share - memory_share) / 2) * MAX_SCORE)
        elif not best_effort and resources:
            points += MAX_SCORE
        return (-points, share, node.index)

    return rank


def best_of(
    spec: PodSpecFacts, constraints: Constraints, topology: Topology | None, nodes: Sequence[NodeInfo]
) -> NodeInfo:
    """Return the best of some feasible nodes: the full scoring.

    Args:
        spec: The pod's.
        constraints: The pod's.
        topology: Other pods' places, where they matter.
        nodes: At least one.
    """
    resources = resource_rank(spec)
    totals = [0] * len(nodes)
    unwelcome = [soft_taints(spec.tolerations, node) if node.facts.taints else 0 for node in nodes]
    if any(unwelcome):
        _add(totals, _reversed(unwelcome), TAINTS_WEIGHT)
    if constraints.node_preferred:
        wanted = [
            sum(weight for weight, term in constraints.node_preferred if term.matches(node.name, node.labels))
            for node in nodes
        ]
        top = max(wanted)
        if top:
            _add(totals, [points * MAX_SCORE // top for points in wanted], NODE_AFFINITY_WEIGHT)
    if topology is not None:
        if constraints.spread_preferred:
            _add(totals, topology.spread_scores(nodes), SPREAD_WEIGHT)
        if topology.has_wishes:
            _add(totals, topology.affinity_scores(nodes), POD_AFFINITY_WEIGHT)
    ranked = []
    for node, total in zip(nodes, totals, strict=True):
        points, share, index = resources(node)
        ranked.append(((points - total, share, index), node))
    return min(ranked, key=lambda pair: pair[0])[1]


def _reversed(counts: list[int]) -> list[int]:
    """Turn "the fewer the better" into points; at least one count is not 0."""
    top = max(counts)
    return [MAX_SCORE - count * MAX_SCORE // top for count in counts]


def _add(totals: list[int], points: Sequence[int], weight: int) -> None:
    for i, value in enumerate(points):
        totals[i] += weight * value
