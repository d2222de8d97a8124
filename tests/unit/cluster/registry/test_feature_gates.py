"""Fields of pods behind feature gates: dropped while they are off, checked while they are on."""

from typing import Any

import pytest

from kubedyno.base.random import Random
from kubedyno.cluster.registry.featuregates import gates_on, stage_of
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NAMESPACES, PODS, SERVICEACCOUNTS, by_plural
from kubedyno.kube.status import Invalid

DEPLOYMENTS = by_plural("apps", "v1", "deployments")
AUTOSCALERS = by_plural("autoscaling", "v2", "horizontalpodautoscalers")
STATEFULSETS = by_plural("apps", "v1", "statefulsets")
CRONJOBS = by_plural("batch", "v1", "cronjobs")


class Clock:
    def now(self) -> float:
        return 1_795_000_000.0

    monotonic = now


def registry(version: str = "1.36", **gates: bool) -> Registry:
    settings = ClusterSettings(version=version, feature_gates=gates)
    made = Registry(Store(Clock()), Clock(), Random(1), settings)
    made.create(NAMESPACES, "", {"metadata": {"name": "ns"}})
    made.create(SERVICEACCOUNTS, "ns", {"metadata": {"name": "default"}})
    return made


def container(**more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "x", **more}


def made(registry: Registry, name: str = "p", **spec: Any) -> dict[str, Any]:
    pod = {"metadata": {"name": name}, "spec": {"containers": [container()], **spec}}
    record = registry.create(PODS, "ns", pod)
    return registry.store.encode_dict(PODS, record)["spec"]


SIGNAL = {"lifecycle": {"stopSignal": "SIGUSR1"}}
RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


@pytest.mark.parametrize(
    ("version", "gates", "kept"),
    [("1.35", {}, True), ("1.36", {}, False), ("1.36", {"MaxUnavailableStatefulSet": True}, True)],
)
def test_how_many_pods_of_a_set_go_at_once_is_dropped_while_its_gate_is_off(version, gates, kept) -> None:
    there = registry(version, **gates)
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container()]}},
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}},
    }
    record = there.create(STATEFULSETS, "ns", {"metadata": {"name": "s"}, "spec": spec})
    strategy = there.store.encode_dict(STATEFULSETS, record)["spec"]["updateStrategy"]
    assert ("maxUnavailable" in strategy["rollingUpdate"]) is kept


@pytest.mark.parametrize("name", ["clusterTrustBundle", "podCertificate"])
def test_sources_of_projected_volumes_are_dropped_while_their_gates_are_off(name) -> None:
    volumes = [{"name": "v", "projected": {"sources": [{name: {"signerName": "a.b/c", "keyType": "ED25519"}}]}}]
    assert made(registry(), volumes=volumes)["volumes"][0]["projected"]["sources"] == [{}]


def test_a_stored_source_stays_after_its_gate_is_off() -> None:
    there = registry(ClusterTrustBundle=True, ClusterTrustBundleProjection=True)
    source = {"clusterTrustBundle": {"name": "b", "path": "p"}}
    made(there, volumes=[{"name": "v", "projected": {"sources": [source]}}])
    there._disabled = registry()._disabled
    pod = there.store.encode_dict(PODS, there.store.get(PODS, "ns/p"))
    pod["metadata"]["labels"] = {"a": "b"}
    there.update(PODS, "ns", "p", pod)
    kept = there.store.encode_dict(PODS, there.store.get(PODS, "ns/p"))["spec"]["volumes"]
    assert next(volume for volume in kept if volume["name"] == "v")["projected"]["sources"] == [source]


def test_sources_are_dropped_though_all_other_gates_are_on() -> None:
    on = dict.fromkeys(("ContainerStopSignals", "ContainerRestartRules", "ImageVolume", "HPAConfigurableTolerance",
                        "GenericWorkload"), True)  # fmt: skip
    volumes = [{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"signerName": "a.b/c"}}]}}]
    assert made(registry(**on), volumes=volumes)["volumes"][0]["projected"]["sources"] == [{}]


def test_a_stop_signal_is_dropped_while_its_gate_is_off() -> None:
    spec = made(registry(), containers=[container(**SIGNAL)])
    assert "lifecycle" not in spec["containers"][0]


@pytest.mark.parametrize(
    ("signal", "system", "why"),
    [
        ("SIGUSR1", None, "Forbidden: may not be set for containers with empty `spec.os.name`"),
        ("SIGUSR1", "windows", 'Unsupported value: "SIGUSR1": supported values: "SIGKILL", "SIGTERM"'),
        ("SIGNONE", "linux", 'Unsupported value: "SIGNONE": supported values: "SIGABRT", '),
        ("SIGUSR1", "linux", ""),
        ("SIGRTMIN+15", "linux", ""),
        ("SIGKILL", "windows", ""),
    ],
)
def test_a_stop_signal_has_to_be_one_of_the_pods_system(signal: str, system: str | None, why: str) -> None:
    spec: dict[str, Any] = {"containers": [container(lifecycle={"stopSignal": signal})]}
    if system:
        spec["os"] = {"name": system}
    on = registry(ContainerStopSignals=True)
    if not why:
        assert made(on, **spec)["containers"][0]["lifecycle"] == {"stopSignal": signal}
        return
    with pytest.raises(Invalid) as failure:
        made(on, **spec)
    assert f"spec.containers[0].lifecycle.stopSignal: {why}" in failure.value.message


def test_what_is_stored_with_a_gate_on_stays_after_it_is_off() -> None:
    on = registry(ContainerStopSignals=True)
    made(on, containers=[container(**SIGNAL)], os={"name": "linux"})
    record = on.store.get(PODS, "ns/p")
    assert record is not None
    pod = on.store.encode_dict(PODS, record)
    off = registry()
    on._disabled = off._disabled
    pod["metadata"]["labels"] = {"a": "b"}
    on.update(PODS, "ns", "p", pod)
    record = on.store.get(PODS, "ns/p")
    assert record is not None
    assert on.store.encode_dict(PODS, record)["spec"]["containers"][0]["lifecycle"] == {"stopSignal": "SIGUSR1"}


def test_templates_lose_them_too() -> None:
    assert DEPLOYMENTS is not None
    assert CRONJOBS is not None
    off = registry("1.34")
    rules = container(restartPolicyRules=RULES, restartPolicy="Never")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [rules]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    record = off.create(DEPLOYMENTS, "ns", {"metadata": {"name": "d"}, "spec": spec})
    inner = off.store.encode_dict(DEPLOYMENTS, record)["spec"]["template"]["spec"]["containers"][0]
    assert "restartPolicyRules" not in inner
    assert "restartPolicy" not in inner
    job = {"spec": {"template": {"spec": {"containers": [rules], "restartPolicy": "Never"}}}}
    cron = {"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": job}}
    record = off.create(CRONJOBS, "ns", cron)
    inner = off.store.encode_dict(CRONJOBS, record)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert "restartPolicyRules" not in inner


def test_restart_rules_of_containers_are_kept_from_1_35() -> None:
    spec = made(registry(), containers=[container(restartPolicyRules=RULES, restartPolicy="Never")])
    assert spec["containers"][0]["restartPolicyRules"] == RULES


def test_an_image_volume_needs_its_gate() -> None:
    volume = {"name": "v", "image": {"reference": "quay.io/x:latest"}}
    spec = made(registry(), volumes=[volume])
    assert spec["volumes"][0] == {"name": "v", "image": {"reference": "quay.io/x:latest", "pullPolicy": "Always"}}
    with pytest.raises(Invalid, match="must specify a volume type"):
        made(registry("1.34"), volumes=[volume])
    assert made(registry("1.34", ImageVolume=True), volumes=[volume])["volumes"][0]["image"]


@pytest.mark.parametrize(
    ("version", "gates", "kept"),
    [("1.34", {}, False), ("1.34", {"HPAConfigurableTolerance": True}, True), ("1.36", {}, True)],
)
def test_an_autoscalers_tolerance_is_kept_from_1_35(version: str, gates: dict[str, bool], kept: bool) -> None:
    here = registry(version, **gates)
    scaler = {
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "behavior": {"scaleUp": {"tolerance": "0.05"}},
        },
    }
    record = here.create(AUTOSCALERS, "ns", scaler)
    rules = here.store.encode_dict(AUTOSCALERS, record)["spec"]["behavior"]["scaleUp"]
    assert ("tolerance" in rules) is kept
    assert rules["selectPolicy"] == "Max"


def test_stages_and_defaults_are_those_of_a_recorded_api_server() -> None:
    # kubernetes_feature_enabled of a kube-apiserver 1.36.
    recorded = {
        "ContainerRestartRules": "BETA", "ContainerStopSignals": "ALPHA", "DynamicResourceAllocation": "",
        "HPAConfigurableTolerance": "BETA", "ImageVolume": "", "KubeletEnsureSecretPulledImages": "BETA",
        "PodObservedGenerationTracking": "", "PreferSameTrafficDistribution": "",
        "ReduceDefaultCrashLoopBackOffDecay": "ALPHA",
    }  # fmt: skip
    assert {gate: stage_of(gate, 36) for gate in recorded} == recorded
    assert {gate for gate in recorded if gate in gates_on(36, {})} == {
        gate for gate, stage in recorded.items() if stage != "ALPHA"
    }


NAP = {"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}


@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_a_hook_may_sleep_for_no_time(version: str) -> None:
    spec = made(registry(version), containers=[container(**NAP)])
    assert spec["containers"][0]["lifecycle"]["preStop"]["sleep"] == {"seconds": 0}


def test_with_its_gate_off_it_may_not() -> None:
    off = registry("1.33", PodLifecycleSleepActionAllowZero=False)
    why = r"spec.containers\[0\].lifecycle.preStop.sleep: Invalid value: 0: must be greater than 0 and less than term"
    with pytest.raises(Invalid, match=why):
        made(off, containers=[container(**NAP)])
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container(**NAP)]}}
    workload = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    with pytest.raises(Invalid, match=r"spec.template.spec.containers\[0\].lifecycle.preStop.sleep"):
        off.create(DEPLOYMENTS, "ns", workload)
