"""The table of features, and what is made of a cluster's answers."""

from typing import Any

import pytest

from kubedyno.advisor import features
from kubedyno.base.errors import KubedynoError


def named(gate: str) -> features.Feature:
    return next(one for one in features.table() if one.gate == gate)


@pytest.mark.parametrize(
    ("gate", "version", "stage", "on"),
    [
        ("HPAConfigurableTolerance", "1.34", "alpha", False),
        ("HPAConfigurableTolerance", "1.35", "beta", True),
        ("PreferSameTrafficDistribution", "1.34", "beta", True),
        ("ServiceTrafficDistribution", "1.33", "GA", True),
        ("DynamicResourceAllocation", "1.33", "beta", False),
        ("DynamicResourceAllocation", "1.34", "GA", True),
        ("ImageVolume", "1.34", "beta", False),
        ("ContainerStopSignals", "1.35", "alpha", False),
        ("StreamingCollectionEncodingToJSON", "v1.33.2", "beta", True),
    ],
)
def test_stages_by_version(gate: str, version: str, stage: str, on: bool) -> None:
    found = named(gate).at(features.target(version))
    assert found is not None
    assert (found.stage, found.on) == (stage, on)


def test_the_pod_replacement_policy_did_not_ship() -> None:
    feature = named("DeploymentPodReplacementPolicy")
    assert feature.at(features.NEWEST) is None
    assert "did not ship" in feature.note


def test_stages_only_grow() -> None:
    for feature in features.table():
        versions = [stage.version for stage in feature.stages]
        assert versions == sorted(set(versions)), feature.name
        assert feature.field
        assert feature.performance
        assert feature.source


METRICS = """# TYPE kubernetes_feature_enabled gauge
kubernetes_feature_enabled{name="HPAConfigurableTolerance",stage="ALPHA"} 1
kubernetes_feature_enabled{name="APIServerTracing",stage=""} 0
"""
# A component lists all of its gates.
WHOLE = METRICS + "".join(f'kubernetes_feature_enabled{{name="G{n}",stage=""}} 1\n' for n in range(100))
TOLERANCE, PREFER_SAME = "HPAConfigurableTolerance", "PreferSameTrafficDistribution"


def state(gate: str, version: tuple[int, int] = (1, 34), **seen: Any) -> tuple[str, str]:
    found = features.judge(named(gate), features.Evidence(version, **seen))
    return found.state, found.sure


def test_a_components_metric_is_believed_before_the_version() -> None:
    gates = {"apiserver": features.gates_of(WHOLE)}
    assert state(TOLERANCE, gates=gates) == ("on", "sure")
    assert state("APIServerTracing", gates=gates) == ("off", "sure")
    assert state(TOLERANCE) == ("off", "by version")


def test_a_gate_that_is_not_listed_is_absent_or_was_taken_out_when_all_had_the_feature() -> None:
    gates = {"apiserver": features.gates_of(WHOLE)}
    assert state(PREFER_SAME, gates=gates) == ("absent", "likely")
    assert state("ServiceTrafficDistribution", (1, 36), gates=gates) == ("on", "likely")
    # Half a list proves nothing.
    assert state(PREFER_SAME, gates={"apiserver": features.gates_of(METRICS)}) == ("on", "by version")


def test_a_dry_run_is_believed_before_the_metric() -> None:
    feature = named(TOLERANCE)
    gates = {"apiserver": features.gates_of(METRICS)}
    seen = features.judge(feature, features.Evidence((1, 34), gates, tried={feature.name: "dropped"}))
    assert (seen.state, seen.how) == ("off", "a dry run dropped the field")


def test_discovery_decides_where_there_is_a_group() -> None:
    gate = "DynamicResourceAllocation"
    assert state(gate, (1, 33), discovered=frozenset({"/apis/resource.k8s.io/v1"}))[0] == "on"
    assert state(gate, (1, 36))[0] == "off"


def test_a_kubelets_configuration_decides_where_its_metrics_cannot_be_read() -> None:
    gate = "KubeletEnsureSecretPulledImages"
    config = {"featureGates": {gate: True}, "imagePullCredentialsVerificationPolicy": "AlwaysVerify"}
    seen = features.judge(named(gate), features.Evidence((1, 34), kubelet=config))
    assert (seen.state, seen.sure) == ("on", "sure")
    assert seen.how == 'the kubelet\'s /configz: featureGates; imagePullCredentialsVerificationPolicy: "AlwaysVerify"'
    assert state(gate, (1, 36), kubelet={}, kubelet_version=(1, 34)) == ("off", "by version")


def test_etcd_has_a_version_and_gates_of_its_own() -> None:
    gate = "InitialCorruptCheck"
    assert state(gate)[0] == "unknown"
    assert state(gate, etcd=(3, 5))[0] == "absent"
    assert state(gate, etcd=(3, 6)) == ("off", "by version")
    assert state(gate, etcd=(3, 6), gates={"etcd": {gate: True}}) == ("on", "sure")
    assert (features.etcd_of((1, 33)), features.etcd_of((1, 34))) == ((3, 5), (3, 6))


def test_kyaml_is_kubectls_own() -> None:
    gate = "KUBECTL_KYAML"
    assert state(gate)[0] == "unknown"
    assert state(gate, kubectl=(1, 33))[0] == "absent"
    assert state(gate, kubectl=(1, 34))[0] == "off"
    assert state(gate, kubectl=(1, 34), kubectl_kyaml=True) == ("on", "sure")
    assert state(gate, kubectl=(1, 35))[0] == "on"


def test_stages_of_1_36_are_those_of_a_recorded_api_server() -> None:
    recorded = {
        "APIServerTracing": "GA locked", "ContainerStopSignals": "alpha", "DeploymentReplicaSetTerminatingReplicas": "beta",
        "DynamicResourceAllocation": "GA locked", "HPAConfigurableTolerance": "beta", "ImageVolume": "GA",
        "KubeletEnsureSecretPulledImages": "beta", "KubeletServiceAccountTokenForCredentialProviders": "beta",
        "KubeletTracing": "GA locked", "PodLifecycleSleepAction": "GA", "PodLifecycleSleepActionAllowZero": "GA",
        "PreferSameTrafficDistribution": "GA", "StreamingCollectionEncodingToJSON": "GA locked",
        "StreamingCollectionEncodingToProtobuf": "GA locked",
    }  # fmt: skip
    found = {gate: named(gate).at((1, 36)) for gate in recorded}
    assert {gate: stage.stage for gate, stage in found.items() if stage is not None} == recorded


@pytest.mark.parametrize(
    ("status", "answer", "outcome"),
    [
        (201, {"spec": {"volumes": [{"image": {"reference": "x"}}]}}, "kept"),
        (201, {"spec": {"volumes": [{}]}}, "dropped"),
        (201, {}, "dropped"),
        (400, {"message": 'strict decoding error: unknown field "spec.volumes[0].image"'}, "unknown field"),
        (403, {"message": "pods is forbidden"}, "refused: pods is forbidden"),
        (422, {"message": 'unknown field "spec.other"'}, 'refused: unknown field "spec.other"'),
    ],
)
def test_what_a_dry_run_says(status: int, answer: dict, outcome: str) -> None:
    assert features.outcome_of(status, answer, "spec.volumes.0.image") == outcome


def test_a_dropped_field_that_the_object_needs_is_dropped_and_not_refused() -> None:
    answer = {"message": 'Pod "x" is invalid: spec.volumes[0]: Required value: must specify a volume type'}
    assert features.outcome_of(422, answer, "spec.volumes.0.image", "must specify a volume type") == "dropped"


@pytest.mark.parametrize("text", ["x", "1", "0.9", "1.99"])
def test_a_version_that_the_table_does_not_have_is_one_line(text: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        features.target(text)
    assert str(caught.value).startswith(f"{text}: ")
