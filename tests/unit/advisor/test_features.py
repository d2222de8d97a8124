"""The table of features, and what is made of a cluster's answers."""

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


def test_a_components_metric_is_believed_before_the_version() -> None:
    gates = {"apiserver": features.gates_of(METRICS)}
    seen = features.judge(named("HPAConfigurableTolerance"), (1, 34), gates=gates)
    assert (seen.state, seen.sure) == ("on", "sure")
    assert features.judge(named("APIServerTracing"), (1, 34), gates=gates).state == "off"
    assert features.judge(named("HPAConfigurableTolerance"), (1, 34), gates={}).state == "off"
    assert features.judge(named("PreferSameTrafficDistribution"), (1, 34), gates=gates).state == "absent"


def test_a_dry_run_is_believed_before_the_metric() -> None:
    feature = named("HPAConfigurableTolerance")
    gates = {"apiserver": features.gates_of(METRICS)}
    seen = features.judge(feature, (1, 34), gates=gates, tried={feature.name: "dropped"})
    assert (seen.state, seen.how) == ("off", "a dry run dropped the field")


def test_discovery_decides_where_there_is_a_group() -> None:
    feature = named("DynamicResourceAllocation")
    found = frozenset({"/apis/resource.k8s.io/v1"})
    assert features.judge(feature, (1, 33), gates={}, discovered=found).state == "on"
    assert features.judge(feature, (1, 36), gates={}).state == "off"


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


@pytest.mark.parametrize("text", ["x", "1", "0.9", "1.99"])
def test_a_version_that_the_table_does_not_have_is_one_line(text: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        features.target(text)
    assert str(caught.value).startswith(f"{text}: ")
