"""Profiles: what a pod's schedulerName decides, and images."""

import orjson

from kubedyno.cluster.settings import SchedulerProfile, SchedulerSettings
from kubedyno.kube.resources import NODES, PODS

DEFAULT = SchedulerProfile()


def with_profiles(simulate, *profiles, **times):
    return simulate(scheduler=SchedulerSettings((DEFAULT, *profiles), **times))


def two_nodes(sim):
    sim.node("n1", cpu="4")
    sim.node("n2", cpu="4")


def test_an_unknown_scheduler_name_is_somebody_elses(sim):
    sim.node()
    before = sim.store.db.revision
    sim.pod("p", schedulerName="other")
    assert (sim.node_of("p"), sim.condition("p"), sim.events("p")) == ("", {}, [])
    assert sim.store.db.revision == before + 1


def test_most_allocated_packs(simulate):
    sim = with_profiles(simulate, SchedulerProfile("packer", strategy="MostAllocated"))
    two_nodes(sim)
    for i in range(3):
        sim.pod(f"p{i}", cpu="1", schedulerName="packer")
    assert {sim.node_of(f"p{i}") for i in range(3)} == {"n1"}
    (event,) = sim.events("p0", "Scheduled")
    assert (event["reportingComponent"], event["reportingInstance"]) == ("packer", "packer-kubedyno-control-plane")
    for i in range(2):
        sim.pod(f"d{i}", cpu="1")
    assert sim.node_of("d0") == "n2"


def test_the_shape_of_requested_to_capacity_ratio(simulate):
    bins = SchedulerProfile("bins", strategy="RequestedToCapacityRatio", shape=((0, 0), (100, 10)))
    spread = SchedulerProfile("spread", strategy="RequestedToCapacityRatio", shape=((0, 10), (100, 0)))
    sim = with_profiles(simulate, bins, spread)
    two_nodes(sim)
    sim.pod("a", cpu="1", memory="4Gi")
    sim.pod("b", cpu="1", memory="4Gi", schedulerName="bins")
    sim.pod("c", cpu="1", memory="4Gi", schedulerName="spread")
    assert [sim.node_of(name) for name in "abc"] == ["n1", "n1", "n2"]


def test_weights_of_resources(simulate):
    only_gpu = SchedulerProfile("g", resources=(("example.com/gpu", 1),), scores=(("NodeResourcesFit", 1),))
    sim = with_profiles(simulate, only_gpu)
    for name, gpus in (("n1", "2"), ("n2", "8")):
        allocatable = {"cpu": "8", "memory": "16Gi", "pods": "110", "example.com/gpu": gpus}
        sim.do(sim.trusted.create, NODES, "", {
            "metadata": {"name": name}, "spec": {"taints": []}, "status": {"allocatable": allocatable},
        })  # fmt: skip
    request = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
    container = {"name": "c", "image": "i", "resources": request}
    sim.do(sim.registry.create, PODS, "ns", {
        "metadata": {"name": "p"}, "spec": {"containers": [container], "schedulerName": "g"},
    })  # fmt: skip
    assert sim.node_of("p") == "n2"


def test_filters_that_are_off_say_no_to_nothing(simulate):
    taint = {"key": "a", "value": "b", "effect": "NoSchedule"}
    sim = with_profiles(simulate, SchedulerProfile("bold", filters_off=("TaintToleration", "NodeResourcesFit")))
    sim.node(cpu="1", taints=[taint])
    sim.pod("shy", cpu="2")
    sim.pod("bold", cpu="2", schedulerName="bold")
    assert (sim.node_of("shy"), sim.node_of("bold")) == ("", "n1")


def test_spread_and_affinity_that_are_off(simulate):
    off = ("PodTopologySpread", "InterPodAffinity")
    sim = with_profiles(simulate, SchedulerProfile("bold", filters_off=off))
    sim.node()
    term = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    sim.pod("one", labels={"a": "b"}, affinity=apart)
    sim.pod("two", labels={"a": "b"}, affinity=apart)
    sim.pod("three", labels={"a": "b"}, affinity=apart, schedulerName="bold")
    assert [sim.node_of(name) for name in ("one", "two", "three")] == ["n1", "", "n1"]


def test_added_affinity_is_enforced_and_told(simulate):
    term = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]}
    added = orjson.dumps({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}).decode()
    sim = with_profiles(simulate, SchedulerProfile("gold", added_affinity=added))
    sim.node("n1")
    sim.pod("p", schedulerName="gold")
    assert sim.condition("p")["message"].startswith(
        "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."
    )
    sim.node("n2", labels={"tier": "gold"})
    sim.advance(2)
    assert sim.node_of("p") == "n2"


def test_a_profile_without_preemption(simulate):
    sim = with_profiles(simulate, SchedulerProfile("kind", preempts=False))
    sim.node(cpu="1")
    sim.pod("low", cpu="1", priority=1)
    sim.pod("high", cpu="1", priority=10, schedulerName="kind")
    assert not sim.store.get(PODS, "ns/low").obj.deletion_s
    assert (
        sim.condition("high")["message"] == "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate"
    )


def test_percentage_of_nodes_to_score(simulate):
    sim = with_profiles(simulate, SchedulerProfile("hasty", percentage=5, strategy="MostAllocated"))
    for i in range(200):
        sim.node(f"n{i}")
    # A pod on the last node: only who looks at all of them finds it.
    sim.pod("first", cpu="4", nodeSelector={"kubernetes.io/hostname": "n199"})
    preferred = [{"weight": 1, "preference": {"matchExpressions": [{"key": "none", "operator": "Exists"}]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    sim.pod("p", cpu="1", schedulerName="hasty", affinity=affinity)
    assert sim.node_of("p") not in {"", "n199"}
    assert sim.scheduler._cycles["hasty"]._start == 100


def test_times_of_back_off(simulate):
    sim = with_profiles(simulate, initial_backoff_s=4.0, max_backoff_s=4.0)
    sim.node(pods=0)
    sim.pod("p")
    waiting = sim.scheduler._queue.pods["ns/p"]
    assert waiting.backoff_until_s - sim.clock.monotonic() == 4.0


# --- images --------------------------------------------------------------------------------------------------------


IMAGE = "registry.example/app:1"


def has_image(sim, name, size=800 << 20, image=IMAGE):
    record = sim.store.get(NODES, name)
    status = sim.store.encode_dict(NODES, record)["status"]
    status["images"] = [{"names": [image], "sizeBytes": size}]
    sim.do(sim.trusted.replace_status, NODES, record, status)


def app(sim, name="p", **spec):
    spec = {"containers": [{"name": "c", "image": IMAGE}], **spec}
    sim.do(sim.registry.create, PODS, "ns", {"metadata": {"name": name}, "spec": spec})
    return sim.node_of(name)


def test_a_node_that_has_a_large_image_is_preferred(sim):
    for name in ("n1", "n2", "n3"):
        sim.node(name)
    has_image(sim, "n2")
    assert app(sim) == "n2"
    assert app(sim, "q", affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "none", "operator": "Exists"}]}},
    ]}}) == "n2"  # fmt: skip


def test_a_small_image_counts_for_nothing(sim):
    sim.node("n1")
    sim.node("n2")
    has_image(sim, "n2", 20 << 20)
    assert app(sim) == "n1"


def test_an_image_without_a_tag_is_the_latest(sim):
    sim.node("n1")
    sim.node("n2")
    has_image(sim, "n2", image="registry.example/app:latest")
    sim.do(sim.registry.create, PODS, "ns", {
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "registry.example/app"}]},
    })  # fmt: skip
    assert sim.node_of("p") == "n2"


def test_images_do_not_count_where_the_profile_says_so(simulate):
    scores = tuple((plugin, weight) for plugin, weight in DEFAULT.scores if plugin != "ImageLocality")
    sim = with_profiles(simulate, SchedulerProfile("blind", scores=scores))
    sim.node("n1")
    sim.node("n2")
    has_image(sim, "n2")
    assert app(sim, schedulerName="blind") == "n1"


def test_an_image_that_comes_later_counts_from_then_on(sim):
    sim.node("n1")
    sim.node("n2")
    assert app(sim, "a") == "n1"
    has_image(sim, "n1")
    assert app(sim, "b") == "n1"
    has_image(sim, "n1", 1 << 20)
    assert app(sim, "c") == "n2"
