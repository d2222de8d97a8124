"""The fast path against a scan of all nodes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.cluster.scheduler.constraints import UNCONSTRAINED
from kubedyno.cluster.scheduler.cycle import Failure
from kubedyno.cluster.scheduler.filters import Filters
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.scheduler.scores import resource_rank
from kubedyno.cluster.settings import SchedulerProfile, SchedulerSettings
from kubedyno.kube.resources import NODES, PODS
from unit.cluster.scheduler.sim import Sim

CPU = ["", "0", "50m", "700m", "1", "3"]
MEMORY = ["", "100Mi", "1Gi", "3Gi"]
nodes = st.tuples(st.integers(0, 4), st.sampled_from(["1", "2", "8"]), st.sampled_from(["2Gi", "4Gi", "16Gi"]))
steps = st.one_of(
    st.tuples(st.just("pod"), st.sampled_from(CPU), st.sampled_from(MEMORY), st.sampled_from(["", "ssd"])),
    st.tuples(st.just("delete"), st.integers(0, 30)),
    st.tuples(st.just("pods"), st.integers(0, 30), st.integers(0, 4)),
    st.tuples(st.just("cordon"), st.integers(0, 30), st.booleans()),
)


class Checked(Sim):
    """Compares each decision with a scan of all nodes."""

    def __init__(self) -> None:
        super().__init__(verify=False)
        cycle = self.scheduler._cycles["default-scheduler"]
        fast, filters, cluster = cycle.node_for, Filters(36), self.scheduler._cluster
        self.decisions = 0

        def node_for(pod):
            spec = pod.facts.spec
            chosen = fast(pod)
            able = [n for n in cluster.nodes.values() if filters.check(spec, UNCONSTRAINED, "", n) is None]
            rank = resource_rank(spec)
            if isinstance(chosen, NodeInfo):
                assert chosen in able
                assert rank(chosen)[0] == min(rank(node)[0] for node in able)
                assert cycle.scan(pod) is chosen
            else:
                assert not able
                assert cycle.scan(pod) == chosen or isinstance(chosen, Failure)
            self.decisions += 1
            return chosen

        cycle.node_for = node_for


def check_nothing_is_overcommitted(sim: Sim) -> None:
    for record in sim.store.list(NODES):
        facts = record.obj.facts
        on_it = [p.obj.facts.spec for p in sim.store.by_index(PODS, "node", record.key)]
        assert sum(spec.cpu_milli for spec in on_it) <= facts.cpu_milli
        assert sum(spec.memory_bytes for spec in on_it) <= facts.memory_bytes
        info = sim.scheduler._cluster.nodes[record.key]
        assert (len(info.pods), info.cpu_milli) == (len(on_it), sum(spec.cpu_milli for spec in on_it))


@settings(max_examples=100)
@given(st.lists(nodes, min_size=1, max_size=5), st.lists(steps, max_size=30))
def test_the_fast_path_chooses_as_a_scan_would_and_never_overcommits(shapes, script):
    sim = Checked()
    try:
        for i, (pods, cpu, memory) in enumerate(shapes):
            sim.node(f"n{i}", pods=pods, cpu=cpu, memory=memory, labels={"disk": "ssd"} if i % 2 else {})
        live = []
        lowered = False
        for number, (what, *values) in enumerate(script):
            if what == "pod":
                cpu, memory, disk = values
                selector = {"nodeSelector": {"disk": disk}} if disk else {}
                sim.pod(f"p{number}", cpu=cpu, memory=memory, **selector)
                live.append(f"p{number}")
                on_nodes = sim.store.list(PODS)
                if not lowered:
                    for i, (pods, _, _) in enumerate(shapes):
                        assert sum(p.obj.facts.node_name == f"n{i}" for p in on_nodes) <= pods
            elif what == "delete" and live:
                sim.delete(live.pop(values[0] % len(live)))
            elif what == "pods":
                lowered = True
                sim.change_node(f"n{values[0] % len(shapes)}", pods=values[1])
            elif what == "cordon":
                sim.change_node(f"n{values[0] % len(shapes)}", spec={"unschedulable": values[1]})
            check_nothing_is_overcommitted(sim)
    finally:
        sim.close()


def test_pods_of_one_shape_share_one_heap():
    sim = Sim(verify=False)
    try:
        sim.node("n1")
        sim.node("n2")
        sim.pods(50)
        shapes = sim.scheduler._cycles["default-scheduler"]._shapes._shapes
        assert len(shapes) == 1
        (shape,) = shapes.values()
        assert sum(map(len, shape._heaps.values())) <= 4 * 2 + 64
    finally:
        sim.close()


PROFILES = [
    SchedulerProfile(),
    SchedulerProfile(strategy="MostAllocated", resources=(("cpu", 3), ("memory", 1))),
    SchedulerProfile(strategy="RequestedToCapacityRatio", shape=((0, 10), (40, 2), (100, 7))),
    SchedulerProfile(scores=(("ImageLocality", 5), ("NodeResourcesBalancedAllocation", 2))),
    SchedulerProfile(filters_off=("NodeResourcesFit", "NodeUnschedulable")),
]
IMAGES = ["a.example/x:1", "a.example/y:2"]
mixed = st.one_of(
    st.tuples(st.just("pod"), st.sampled_from(CPU), st.sampled_from(MEMORY), st.sampled_from(IMAGES)),
    st.tuples(st.just("delete"), st.integers(0, 30)),
    st.tuples(
        st.just("images"), st.integers(0, 30), st.lists(st.sampled_from(IMAGES), unique=True),
        st.sampled_from([1 << 20, 300 << 20, 1200 << 20]),
    ),
    st.tuples(st.just("cordon"), st.integers(0, 30), st.booleans()),
)  # fmt: skip


@settings(max_examples=100)
@given(st.sampled_from(PROFILES), st.lists(nodes, min_size=1, max_size=5), st.lists(mixed, max_size=30))
def test_the_fast_path_of_any_profile_chooses_as_a_scan_would(profile, shapes, script):
    sim = Sim(verify=False, scheduler=SchedulerSettings((profile,)))
    cycle = sim.scheduler._cycles["default-scheduler"]
    fast, seen = cycle.node_for, []

    def node_for(pod):
        chosen, scanned = fast(pod), cycle.scan(pod)
        seen.append((chosen, scanned))
        return chosen

    cycle.node_for = node_for
    try:
        for i, (pods, cpu, memory) in enumerate(shapes):
            sim.node(f"n{i}", pods=pods, cpu=cpu, memory=memory)
        live = []
        for number, (what, *values) in enumerate(script):
            if what == "pod":
                cpu, memory, image = values
                requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
                container = {"name": "c", "image": image, "resources": {"requests": requests}}
                live.append(f"p{number}")
                sim.do(sim.registry.create, PODS, "ns", {
                    "metadata": {"name": live[-1]}, "spec": {"containers": [container]},
                })  # fmt: skip
            elif what == "delete" and live:
                sim.delete(live.pop(values[0] % len(live)))
            elif what == "images":
                record = sim.store.get(NODES, f"n{values[0] % len(shapes)}")
                status = sim.store.encode_dict(NODES, record)["status"]
                status["images"] = [{"names": [image], "sizeBytes": values[2]} for image in values[1]]
                sim.do(sim.trusted.replace_status, NODES, record, status)
            elif what == "cordon":
                sim.change_node(f"n{values[0] % len(shapes)}", spec={"unschedulable": values[1]})
    finally:
        sim.close()
    for chosen, scanned in seen:
        # What a scan says of a failure names its preemption; a shape's pods share one.
        assert chosen is scanned or (isinstance(chosen, Failure) and isinstance(scanned, Failure))
