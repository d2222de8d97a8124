"""How welcome a pod is on a node: a profile's plugins with their weights, in whole points as the real ones.

A Service's implicit spreading defaults do not count.
"""

from collections.abc import Callable, Mapping, Sequence

from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.scheduler.constraints import Constraints
from kubedyno.cluster.scheduler.filters import soft_taints
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo, scored_requests
from kubedyno.cluster.scheduler.topology import Topology
from kubedyno.cluster.settings import SchedulerProfile

MAX_SCORE = 100
# Image sizes that count for nothing, and, for each container, for everything (plugins/imagelocality).
_SMALL_IMAGE_BYTES = 23 << 20
_LARGE_IMAGE_BYTES = 1000 << 20

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


def _used(spec: PodSpecFacts, node: NodeInfo, name: str, *, scored: bool) -> tuple[int, int, bool]:
    """Return what of a resource a node has, what is asked of it with the pod, and whether the pod asks for it."""
    if name == "cpu":
        own, taken = (scored_requests(spec)[0], node.scored_cpu_milli) if scored else (spec.cpu_milli, node.cpu_milli)
        return node.facts.cpu_milli, taken + own, bool(own)
    if name == "memory":
        own, taken = (
            (scored_requests(spec)[1], node.scored_memory_bytes) if scored else (spec.memory_bytes, node.memory_bytes)
        )
        return node.facts.memory_bytes, taken + own, bool(own)
    own = next((amount for extra, amount in spec.extra_requests if extra == name), 0)
    return node.extra.get(name, 0), node.used_extra.get(name, 0) + own, bool(own)


def _along(shape: Sequence[tuple[int, int]], utilization: int) -> int:
    """Return 0 … 100 on the broken line through a shape's points."""
    for i, (x, y) in enumerate(shape):
        if utilization <= x:
            if i == 0:
                return y * 10
            x0, y0 = shape[i - 1]
            return y0 * 10 + int((y - y0) * 10 * (utilization - x0) / (x - x0))
    return shape[-1][1] * 10


def _fit_points(profile: SchedulerProfile, spec: PodSpecFacts, node: NodeInfo) -> int:
    """Return 0 … 100 by the profile's strategy."""
    points = weights = 0
    for name, weight in profile.resources:
        capacity, used, asked = _used(spec, node, name, scored=True)
        if not capacity or (name not in {"cpu", "memory"} and not asked):
            continue
        if profile.strategy == "LeastAllocated":
            score = (capacity - used) * MAX_SCORE // capacity if used <= capacity else 0
        elif profile.strategy == "MostAllocated":
            score = min(used, capacity) * MAX_SCORE // capacity
        else:
            score = _along(profile.shape, used * 100 // capacity if used <= capacity else 100)
            if not score:
                continue
        points += score * weight
        weights += weight
    return points // weights if weights else 0


def _balance_points(profile: SchedulerProfile, spec: PodSpecFacts, node: NodeInfo) -> int:
    """Return 0 … 100: the more alike the shares of the resources, the more."""
    if not (spec.cpu_milli or spec.memory_bytes or spec.extra_requests):
        return 0
    shares = []
    for name in profile.balanced:
        capacity, used, asked = _used(spec, node, name, scored=False)
        if capacity and (name in {"cpu", "memory"} or asked):
            shares.append(min(1.0, used / capacity))
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs(shares[0] - shares[1]) / 2
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        deviation = (sum((share - mean) ** 2 for share in shares) / len(shares)) ** 0.5
    return int((1.0 - deviation) * MAX_SCORE)


def image_points(images: Sequence[str], sizes: Mapping[str, int], shares: Mapping[str, float]) -> int:
    """Return 0 … 100 for the images of a pod's containers that a node has.

    Args:
        images: One for each container, init containers too.
        sizes: Bytes of the images that the node has.
        shares: Share of all nodes that have an image.
    """
    total = sum(int(sizes[image] * shares.get(image, 0.0)) for image in images if image in sizes)
    top = _LARGE_IMAGE_BYTES * len(images)
    total = min(max(total, _SMALL_IMAGE_BYTES), top)
    return MAX_SCORE * (total - _SMALL_IMAGE_BYTES) // (top - _SMALL_IMAGE_BYTES)


class Scoring:
    """The scores of one profile.

    Args:
        profile: Weights, and the strategy for resources.
    """

    def __init__(self, profile: SchedulerProfile) -> None:
        self._profile = profile
        weights = dict(profile.scores)
        self._taints = weights.get("TaintToleration", 0)
        self._node_affinity = weights.get("NodeAffinity", 0)
        self._spread = weights.get("PodTopologySpread", 0)
        self._pod_affinity = weights.get("InterPodAffinity", 0)
        self._fit = weights.get("NodeResourcesFit", 0)
        self._balance = weights.get("NodeResourcesBalancedAllocation", 0)
        self.images = weights.get("ImageLocality", 0)
        default = SchedulerProfile()
        self._usual = (self._fit, self._balance, profile.strategy, profile.resources, profile.balanced) == (
            1, 1, default.strategy, default.resources, default.balanced,
        )  # fmt: skip

    def rank(self, spec: PodSpecFacts) -> Callable[[NodeInfo], Rank]:
        """Return the function that ranks a node for pods of that spec by resources alone; the smallest is the best."""
        if self._usual:
            return resource_rank(spec)
        profile, fit, balance = self._profile, self._fit, self._balance
        # Of equals the emptier one, or where pods are packed the fuller one.
        sign = 1.0 if profile.strategy == "LeastAllocated" else -1.0
        usual = resource_rank(spec)

        def rank(node: NodeInfo) -> Rank:
            points = fit * _fit_points(profile, spec, node) if fit else 0
            if balance:
                points += balance * _balance_points(profile, spec, node)
            return (-points, sign * usual(node)[1], node.index)

        return rank

    def best_of(
        self,
        spec: PodSpecFacts,
        constraints: Constraints,
        topology: Topology | None,
        nodes: Sequence[NodeInfo],
        shares: Mapping[str, float],
    ) -> NodeInfo:
        """Return the best of some feasible nodes: the full scoring.

        Args:
            spec: The pod's.
            constraints: The pod's.
            topology: Other pods' places, where they matter.
            nodes: At least one.
            shares: Share of all nodes that have an image.
        """
        resources = self.rank(spec)
        totals = [0] * len(nodes)
        if self._taints:
            unwelcome = [soft_taints(spec.tolerations, node) if node.facts.taints else 0 for node in nodes]
            if any(unwelcome):
                _add(totals, _reversed(unwelcome), self._taints)
        if constraints.node_preferred and self._node_affinity:
            wanted = [
                sum(weight for weight, term in constraints.node_preferred if term.matches(node.name, node.labels))
                for node in nodes
            ]
            top = max(wanted)
            if top:
                _add(totals, [points * MAX_SCORE // top for points in wanted], self._node_affinity)
        if topology is not None:
            if constraints.spread_preferred and self._spread:
                _add(totals, topology.spread_scores(nodes), self._spread)
            if topology.has_wishes and self._pod_affinity:
                _add(totals, topology.affinity_scores(nodes), self._pod_affinity)
        if shares and self.images:
            images = image_names(spec)
            _add(totals, [image_points(images, dict(node.facts.images), shares) for node in nodes], self.images)
        ranked = []
        for node, total in zip(nodes, totals, strict=True):
            points, share, index = resources(node)
            ranked.append(((points - total, share, index), node))
        return min(ranked, key=lambda pair: pair[0])[1]


def image_names(spec: PodSpecFacts) -> list[str]:
    """Return the images of a pod's containers as nodes list them: with a tag."""
    return [_tagged(image) for _, image, _ in (*spec.init_containers, *spec.containers)]


def _tagged(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def _reversed(counts: list[int]) -> list[int]:
    """Turn "the fewer the better" into points; at least one count is not 0."""
    top = max(counts)
    return [MAX_SCORE - count * MAX_SCORE // top for count in counts]


def _add(totals: list[int], points: Sequence[int], weight: int) -> None:
    for i, value in enumerate(points):
        totals[i] += weight * value
