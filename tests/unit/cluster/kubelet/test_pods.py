from typing import Any

import pytest

from kubedyno.cluster.kubelet.podstatus import status_of
from kubedyno.cluster.kubelet.runs import Stage
from kubedyno.kube.resources import CONFIGMAPS, EVENTS, PODS, SECRETS, Resource

from .conftest import NS, Sim, condition


def reasons(sim: Sim, name: str = "p") -> list[str]:
    return [reason for reason, _ in sim.events(name)]


def test_at_speed_0_a_pod_runs_within_one_drain(sim: Sim) -> None:
    sim.create()
    sim.run()
    status = sim.pod()
    assert status["phase"] == "Running"
    assert [c["type"] for c in status["conditions"]] == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    assert {c["status"] for c in status["conditions"]} == {"True"}
    assert {c["observedGeneration"] for c in status["conditions"]} == {1}
    assert (status["podIP"], status["podIPs"], status["hostIPs"]) == (
        "10.244.0.2",
        [{"ip": "10.244.0.2"}],
        [{"ip": "172.18.0.2"}],
    )
    container = status["containerStatuses"][0]
    assert container["containerID"].startswith("containerd://")
    assert container["imageID"].startswith("docker.io/library/nginx@sha256:")
    assert (container["ready"], container["started"], container["lastState"]) == (True, True, {})
    assert container["volumeMounts"][0]["name"] == self_volume(sim)
    assert sim.events() == [
        ("Pulling", 'Pulling image "nginx:1"'),
        ("Pulled", 'Successfully pulled image "nginx:1" in 0s (0s including waiting). Image size: 72200000 bytes.'),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ]


def self_volume(sim: Sim) -> str:
    return str(sim.get(PODS, "p")["spec"]["volumes"][0]["name"])


def test_the_filled_in_status_is_the_computed_one(sim: Sim) -> None:
    sim.create(container={"resources": {"requests": {"cpu": "10m"}}})
    sim.run()
    record = sim.store.get(PODS, f"{NS}/p")
    assert record is not None
    run = sim.nodes.pods.runs[record.key]
    assert run.containers is None
    run.expand()
    assert status_of(run, sim.clock.now(), 36, 1, sim.pod()) == sim.pod()


@pytest.mark.parametrize(
    ("version", "created", "started", "present"),
    [
        ("1.33", "Created container: c", "Started container c", 'Container image "nginx:1" already present on machine'),
        (
            "1.36",
            "Container created",
            "Container started",
            'Container image "nginx:1" already present on machine and can be accessed by the pod',
        ),
    ],
)
def test_events_have_the_words_of_the_version(
    make: Any, version: str, created: str, started: str, present: str
) -> None:
    sim = make(version=version)
    sim.create("first")
    sim.create()
    sim.run()
    assert [message for _, message in sim.events()] == [present, created, started]
    assert ("observedGeneration" in sim.pod()) == (version != "1.33")


def test_253_pods_get_an_address_and_the_others_say_why_not(make: Any) -> None:
    sim = make(max_pods=400)
    for i in range(256):
        sim.create(f"p{i}")
    sim.run()
    addresses = {sim.pod(f"p{i}").get("podIP") for i in range(256)} - {None}
    assert len(addresses) == 253
    status = sim.pod("p255")
    assert status["phase"] == "Pending"
    assert condition(status, "PodReadyToStartContainers")["status"] == "False"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    reason, message = sim.events("p255")[0]
    assert reason == "FailedCreatePodSandBox"
    assert message.endswith("no IP addresses available in range set: 10.244.0.1-10.244.0.254")


def test_a_pod_without_address_is_tried_again_every_10_to_15_seconds(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30")
    sim.create("holder")
    sim.create()
    sim.run(62)
    tries = len([r for r in reasons(sim) if r == "FailedCreatePodSandBox"])
    assert 5 <= tries <= 7


def test_a_freed_address_goes_to_the_pod_that_waits(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30")
    sim.create("holder")
    sim.create()
    sim.run()
    assert sim.pod("holder")["podIP"] == "10.244.0.2"
    sim.delete("holder")
    sim.run()
    assert sim.gone("holder")
    assert (sim.pod()["phase"], sim.pod()["podIP"]) == ("Running", "10.244.0.2")


def test_a_pod_on_the_host_network_takes_no_address(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30")
    sim.create("host", hostNetwork=True)
    sim.create()
    sim.run()
    assert sim.pod("host")["podIP"] == "172.18.0.2"
    assert sim.pod()["podIP"] == "10.244.0.2"


def test_a_pod_beyond_max_pods_is_rejected(make: Any) -> None:
    sim = make(max_pods=1)
    sim.create("first")
    sim.create()
    sim.run()
    status = sim.pod()
    text = "Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
    assert (status["phase"], status["reason"], status["message"]) == (
        "Failed",
        "OutOfpods",
        f"Pod was rejected: {text}",
    )
    assert sim.events() == [("OutOfpods", text)]


def test_a_deleted_pod_stops_within_its_grace_and_is_gone(make: Any) -> None:
    sim = make(speed=1)
    sim.create(container={"command": ["sleep", "infinity"]}, terminationGracePeriodSeconds=7)
    sim.create("nginx")
    sim.run(30)
    assert sim.pod()["phase"] == sim.pod("nginx")["phase"] == "Running"
    sim.delete()
    sim.delete("nginx")
    sim.run(2)
    # nginx handles SIGTERM, a sleep as process 1 doesn't.
    assert sim.gone("nginx")
    assert ("Killing", "Stopping container c") in sim.events()
    assert sim.pod()["phase"] == "Running"
    sim.run(6)
    assert sim.gone()


def test_the_last_status_of_a_stopped_pod_shows_how_it_ended(sim: Sim) -> None:
    sim.create()
    sim.run()
    sim.history()
    sim.delete()
    sim.run()
    last = sim.history()[-1]
    assert last["phase"] == "Succeeded"
    assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert condition(last, "Ready") == condition(last, "Ready") | {"status": "False", "reason": "PodCompleted"}
    assert condition(last, "PodReadyToStartContainers")["status"] == "False"
    assert sim.gone()
    assert sim.nodes.pods.runs == {}


def test_a_forced_deletion_frees_all_at_once(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30")
    sim.create("holder")
    sim.run()
    sim.delete("holder", 0)
    sim.run()
    sim.create()
    sim.run()
    assert sim.pod()["podIP"] == "10.244.0.2"


def test_a_pod_with_a_finalizer_stays_without_grace_and_its_address_is_free(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30")
    spec = {"containers": [{"name": "c", "image": "nginx:1"}], "nodeName": "n0"}
    sim.registry.create(PODS, NS, {"metadata": {"name": "p", "finalizers": ["a.b/c"]}, "spec": spec})
    sim.run()
    sim.delete()
    sim.run()
    assert sim.get(PODS, "p")["metadata"]["deletionGracePeriodSeconds"] == 0
    sim.create("next")
    sim.run()
    assert sim.pod("next")["phase"] == "Running"


def test_at_speed_1_a_pod_goes_through_the_states_of_a_real_one(make: Any) -> None:
    sim = make(speed=1)
    probe = {"httpGet": {"port": 80}, "initialDelaySeconds": 5, "periodSeconds": 1}
    sim.create(container={"readinessProbe": probe})
    sim.run(30)
    history = sim.history()
    seen = [
        (
            s["phase"],
            next(iter(s["containerStatuses"][0]["state"])) if "containerStatuses" in s else "",
            next((c["status"] for c in s.get("conditions", ()) if c["type"] == "Ready"), ""),
        )
        for s in history
    ]
    assert seen == [
        ("Pending", "", ""),
        ("Pending", "waiting", "False"),
        ("Running", "running", "False"),
        ("Running", "running", "True"),
    ]
    last = history[-1]
    order = [condition(last, c)["lastTransitionTime"] for c in ("PodScheduled", "PodReadyToStartContainers", "Ready")]
    assert order == sorted(order)
    assert order[0] < order[1] < order[2]
    assert condition(history[1], "Ready")["message"] == "containers with unready status: [c]"
    pulled = next(message for reason, message in sim.events() if reason == "Pulled")
    assert pulled.startswith('Successfully pulled image "nginx:1" in ')


def test_images_are_pulled_one_at_a_time_and_once_a_node(make: Any) -> None:
    sim = make(speed=1)
    sim.create("a")
    sim.create("b", container={"image": "redis:7"})
    sim.run(60)
    sim.create("c")
    sim.run(5)
    texts = {name: dict(sim.events(name))["Pulled"] for name in "abc"}
    waits = [texts[name].partition("(")[2].split("s ")[0] for name in "ab"]
    own = [texts[name].partition(" in ")[2].split("s ")[0] for name in "ab"]
    # One of the two waited for the other.
    assert sum(float(w) > float(o) for w, o in zip(waits, own, strict=True)) == 1
    assert "already present on machine" in texts["c"]
    assert sim.pod("c")["phase"] == "Running"


def test_an_unready_probe_never_succeeds(sim: Sim) -> None:
    sim.create(annotations={"kubedyno.io/not-ready": "true"})
    sim.run(100)
    assert sim.pod()["phase"] == "Running"
    assert condition(sim.pod(), "Ready")["status"] == "False"


@pytest.mark.parametrize(
    ("image", "annotations", "words"),
    [
        ("registry.invalid/a:1", {}, "lookup registry.invalid: no such host"),
        ("nginx:1", {"kubedyno.io/fail-pull": "true"}, "docker.io/library/nginx:1: not found"),
    ],
)
def test_an_image_that_is_not_there_backs_off(sim: Sim, image: str, annotations: dict[str, str], words: str) -> None:
    sim.create(container={"image": image}, annotations=annotations)
    sim.run(0.1)
    assert sim.pod()["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    sim.run(5)
    waiting = sim.pod()["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ImagePullBackOff"
    assert waiting["message"].startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
    assert words in waiting["message"]
    assert reasons(sim)[:5] == ["Pulling", "Failed", "Failed", "BackOff", "Failed"]
    assert sim.pod()["phase"] == "Pending"


def test_a_job_pod_succeeds_when_its_program_ends(make: Any) -> None:
    sim = make(speed=1)
    command = {"image": "busybox:1", "command": ["sh", "-c", "sleep 20; exit 0"]}
    sim.create(container=command, restartPolicy="Never")
    sim.run(15)
    assert sim.pod()["phase"] == "Running"
    sim.run(15)
    status = sim.pod()
    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert condition(status, "Ready")["reason"] == "PodCompleted"


def test_a_completed_pod_frees_its_address_and_its_place(make: Any) -> None:
    sim = make(cidr="10.244.0.0/30", max_pods=1)
    sim.create("done", container={"command": ["true"]}, restartPolicy="Never")
    sim.run()
    assert sim.pod("done")["phase"] == "Succeeded"
    sim.create()
    sim.run()
    assert sim.pod()["phase"] == "Running"
    sim.delete("done")
    sim.run()
    assert sim.gone("done")


def test_exit_codes_fail_a_pod_that_is_not_restarted(sim: Sim) -> None:
    sim.create(annotations={"kubedyno.io/exit-code": "3"}, restartPolicy="Never")
    sim.run()
    assert sim.pod()["phase"] == "Failed"
    assert sim.pod()["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_a_crashing_container_restarts_with_doubling_pauses(sim: Sim) -> None:
    sim.create(annotations={"kubedyno.io/exit-code": "1"}, restartPolicy="OnFailure")
    sim.run(1)
    container = sim.pod()["containerStatuses"][0]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=c pod=p_ns(")
    assert (container["restartCount"], container["lastState"]["terminated"]["exitCode"]) == (1, 1)
    sim.run(12)
    assert sim.pod()["containerStatuses"][0]["restartCount"] == 2
    sim.run(15)
    assert sim.pod()["containerStatuses"][0]["restartCount"] == 2
    sim.run(10)
    assert sim.pod()["containerStatuses"][0]["restartCount"] == 3
    assert sim.pod()["phase"] == "Running"
    assert "BackOff" in reasons(sim)


def test_init_containers_run_in_order_before_the_others(make: Any) -> None:
    sim = make(speed=1)
    init = [{"name": f"i{i}", "image": "busybox:1", "command": ["sleep", "5"]} for i in range(2)]
    sidecar = {"name": "s", "image": "nginx:1", "restartPolicy": "Always"}
    sim.create(initContainers=[init[0], sidecar, init[1]])
    sim.run(5)
    status = sim.pod()
    states = [next(iter(c["state"])) for c in status["initContainerStatuses"]]
    assert states == ["running", "waiting", "waiting"]
    assert condition(status, "Initialized")["message"] == "containers with incomplete status: [i0 s i1]"
    sim.run(30)
    status = sim.pod()
    assert [next(iter(c["state"])) for c in status["initContainerStatuses"]] == ["terminated", "running", "terminated"]
    assert status["phase"] == "Running"
    assert condition(status, "Ready")["status"] == "True"
    started = [c["fieldPath"] for c in involved(sim) if c]
    assert started == [
        "spec.initContainers{i0}",
        "spec.initContainers{s}",
        "spec.initContainers{i1}",
        "spec.containers{c}",
    ]


def involved(sim: Sim) -> list[dict[str, Any]]:
    found = [sim.store.encode_dict(EVENTS, r) for r in sim.store.table(EVENTS).all()]
    found.sort(key=lambda e: int(e["metadata"]["name"].rpartition(".")[2], 16))
    return [e["involvedObject"] for e in found if e["reason"] == "Started" and e["metadata"]["namespace"] == NS]


def test_a_failing_init_container_fails_the_pod(sim: Sim) -> None:
    init = [{"name": "i", "image": "busybox:1", "command": ["false"]}]
    sim.create(initContainers=init, restartPolicy="Never")
    sim.run()
    assert sim.pod()["phase"] == "Failed"
    assert condition(sim.pod(), "Initialized")["reason"] == "ContainersNotInitialized"


def test_a_static_pod_is_mirrored_and_its_mirror_comes_back(sim: Sim) -> None:
    manifest = {
        "metadata": {"name": "etcd", "namespace": "kube-system", "labels": {"tier": "control-plane"}},
        "spec": {
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            "containers": [{"name": "etcd", "image": "registry.k8s.io/etcd:3.6"}],
        },
    }
    sim.nodes.mirrors.add("n0", manifest)
    sim.run()
    pod = sim.get(PODS, "etcd-n0", "kube-system")
    assert pod["metadata"]["annotations"].keys() >= {
        "kubernetes.io/config.hash",
        "kubernetes.io/config.mirror",
        "kubernetes.io/config.seen",
        "kubernetes.io/config.source",
    }
    assert pod["metadata"]["ownerReferences"][0] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "n0",
        "uid": sim.node()["metadata"]["uid"],
        "controller": True,
    }
    assert (pod["status"]["phase"], pod["status"]["podIP"]) == ("Running", "172.18.0.2")
    sim.run(5)
    sim.trusted.delete(PODS, "kube-system/etcd-n0")
    sim.run()
    again = sim.get(PODS, "etcd-n0", "kube-system")
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]
    assert again["status"]["containerStatuses"] == pod["status"]["containerStatuses"]
    assert again["status"]["startTime"] == pod["status"]["startTime"]


def test_a_pod_waits_for_the_network(make: Any) -> None:
    sim = make(cidr=None)
    sim.create()
    sim.run()
    assert sim.events()[0][0] == "NetworkNotReady"
    sim.set_cidr()
    assert sim.pod()["phase"] == "Running"


def test_a_new_image_restarts_the_container(sim: Sim) -> None:
    sim.create()
    sim.run()

    def patch(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["containers"][0]["image"] = "nginx:2"
        return pod

    record = sim.store.get(PODS, f"{NS}/p")
    assert record is not None
    body = patch({"spec": sim.get(PODS, "p")["spec"]})
    sim.trusted.replace(PODS, record, body=body)
    sim.run(1)
    container = sim.pod()["containerStatuses"][0]
    assert (container["image"], container["restartCount"]) == ("docker.io/library/nginx:2", 1)
    assert ("Killing", "Container c definition changed, will be restarted") in sim.events()
    assert sim.pod()["observedGeneration"] == 2


def test_stages_only_go_on(make: Any) -> None:
    sim = make(speed=1)
    seen: dict[str, list[Stage]] = {}
    sim.create("a")
    sim.create("b", container={"command": ["true"]}, restartPolicy="Never")
    sim.create("c", initContainers=[{"name": "i", "image": "busybox:1", "command": ["true"]}])
    for step in range(400):
        sim.run(0.1)
        for run in sim.nodes.pods.runs.values():
            stages = seen.setdefault(run.key, [])
            if not stages or stages[-1] is not run.stage:
                stages.append(run.stage)
        if step == 300:
            for name in "abc":
                sim.delete(name)
    assert all(stages == sorted(stages) for stages in seen.values())
    assert {stages[-1] for stages in seen.values()} <= {Stage.TERMINATING, Stage.RUNNING, Stage.COMPLETED}
    assert all(Stage.STARTING in stages for stages in seen.values())
    assert sim.nodes.pods.runs == {}


@pytest.mark.parametrize("version", ["1.33", "1.36"])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0},
        {
            "containers": [
                {"name": "a", "image": "redis:7", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
                {
                    "name": "b",
                    "image": "nginx:1",
                    "command": ["sleep", "infinity"],
                    "volumeMounts": [{"name": "v", "mountPath": "/100%(ip)b"}],
                },
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "securityContext": {"runAsUser": 7, "fsGroup": 8},
        },
        {"hostNetwork": True},
    ],
)
def test_the_short_way_ends_where_the_long_one_does(make: Any, version: str, spec: dict[str, Any]) -> None:
    statuses = []
    # Running for ever is what it does anyway, but said so it goes the long way.
    for annotations in (None, {"kubedyno.io/run-seconds": "infinity"}):
        sim = make(version=version)
        sim.create(annotations=annotations, **spec)
        sim.run(2)
        run = sim.nodes.pods.runs[f"{NS}/p"]
        assert (run.containers is None) == (annotations is None)
        running = sim.pod()
        sim.delete()
        sim.run(2)
        assert sim.gone()
        last = sim.history()[-1]
        text = repr((running, last)).replace(run.uid, "UID")
        for container in (*running["containerStatuses"], *last["containerStatuses"]):
            text = text.replace(container["containerID"], container["name"])
        statuses.append(text.replace(run.suffix.decode() or "-", "-"))
    assert statuses[0] == statuses[1]


def test_a_readiness_gate_holds_a_pod_back_until_somebody_opens_it(sim: Sim) -> None:
    sim.create(readinessGates=[{"conditionType": "a/b"}])
    sim.run()
    ready = condition(sim.pod(), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    assert ready["message"] == 'corresponding condition of pod readiness gate "a/b" does not exist.'
    assert condition(sim.pod(), "ContainersReady")["status"] == "True"
    record = sim.store.get(PODS, f"{NS}/p")
    assert record is not None
    status = sim.pod()
    opened = {"type": "a/b", "status": "True", "lastProbeTime": None, "lastTransitionTime": None}
    sim.trusted.replace_status(PODS, record, {**status, "conditions": [*status["conditions"], opened]})
    sim.run()
    assert condition(sim.pod(), "Ready")["status"] == "True"
    assert condition(sim.pod(), "a/b")["status"] == "True"


def test_all_of_a_template_share_one_plan_and_no_json_is_read(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    template = sim.trusted.pod_template({"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}})

    def bound(name: str) -> None:
        sim.trusted.verify = False
        sim.trusted.bind(sim.trusted.create_pod(NS, template, name=name), "n0")

    bound("first")
    sim.run()
    monkeypatch.setattr("kubedyno.cluster.kubelet.plan.orjson.loads", None)
    bound("second")
    sim.run()
    first, second = (sim.nodes.pods.runs[f"{NS}/{name}"] for name in ("first", "second"))
    assert first.plan is second.plan
    record = sim.store.get(PODS, f"{NS}/second")
    assert record is not None
    assert record.obj.facts.ready


def test_without_memory_for_it_a_pod_is_rejected(sim: Sim) -> None:
    sim.create(container={"resources": {"requests": {"memory": "10Gi"}}})
    sim.create("q", container={"resources": {"requests": {"memory": "10Gi"}}})
    sim.run()
    assert sim.pod()["phase"] == "Running"
    assert sim.pod("q")["reason"] == "OutOfmemory"


def test_a_second_deletion_may_shorten_the_grace(make: Any) -> None:
    sim = make(speed=1)
    sim.create(container={"command": ["sleep", "infinity"]}, terminationGracePeriodSeconds=60)
    sim.run(20)
    sim.delete()
    sim.run(5)
    sim.delete(grace_s=2)
    sim.run(1)
    assert not sim.gone()
    sim.run(2)
    assert sim.gone()
    assert reasons(sim).count("Killing") == 1


@pytest.mark.parametrize(
    ("volume", "resource", "words"),
    [
        ({"configMap": {"name": "late"}}, CONFIGMAPS, 'configmap "late" not found'),
        ({"secret": {"secretName": "late"}}, SECRETS, 'secret "late" not found'),
    ],
)
def test_a_volume_waits_for_what_it_is_made_of(
    sim: Sim, volume: dict[str, Any], resource: Resource, words: str
) -> None:
    sim.create(volumes=[{"name": "v", **volume}])
    sim.run(1)
    assert sim.events()[0] == ("FailedMount", f'MountVolume.SetUp failed for volume "v" : {words}')
    assert sim.pod()["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    sim.registry.create(resource, NS, {"metadata": {"name": "late"}})
    sim.run(3)
    assert sim.pod()["phase"] == "Running"


def test_an_optional_volume_waits_for_nothing(sim: Sim) -> None:
    sim.create(volumes=[{"name": "v", "configMap": {"name": "late", "optional": True}}])
    sim.run()
    assert sim.pod()["phase"] == "Running"


def test_a_container_waits_for_its_environment(sim: Sim) -> None:
    reference = {"configMapKeyRef": {"name": "late", "key": "k"}}
    sim.create(container={"env": [{"name": "A", "valueFrom": reference}]})
    sim.run(1)
    assert sim.pod()["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "late" not found',
    }
    assert ("Failed", 'Error: configmap "late" not found') in sim.events()
    sim.registry.create(CONFIGMAPS, NS, {"metadata": {"name": "late"}, "data": {"k": "v"}})
    sim.run(16)
    assert sim.pod()["phase"] == "Running"


def test_a_hook_delays_the_stop_within_the_grace(make: Any) -> None:
    sim = make(speed=1)
    hooks = {"p": {"sleep": {"seconds": 4}}, "long": {"exec": {"command": ["sleep", "60"]}}}
    for name, hook in hooks.items():
        sim.create(name, container={"lifecycle": {"preStop": hook}}, terminationGracePeriodSeconds=10)
    sim.run(30)
    sim.delete()
    sim.delete("long")
    sim.run(3.5)
    assert not sim.gone()
    sim.run(1.5)
    assert sim.gone()
    assert not sim.gone("long")
    sim.run(6)
    assert sim.gone("long")
