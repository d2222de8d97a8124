"""What autoscaling/v1 keeps in annotations, there and back."""

import pytest

from kubedyno.cluster.registry.kinds.autoscalingv1 import (
    behavior_from_v1,
    behavior_to_v1,
    metric_from_v1,
    metric_to_v1,
    status_from_v1,
    status_to_v1,
)

SERVICE = {"apiVersion": "v1", "kind": "Service", "name": "s"}
TEN = {"type": "Value", "value": "10"}


@pytest.mark.parametrize(
    ("metric", "flat"),
    [
        (
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
            },
            {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 5}},
        ),
        (
            {
                "type": "Pods",
                "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}},
            },
            {"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "1"}},
        ),
        (
            {"type": "Object", "object": {"describedObject": SERVICE, "metric": {"name": "m"}, "target": TEN}},
            {"type": "Object", "object": {"target": SERVICE, "metricName": "m", "targetValue": "10"}},
        ),
        (
            {"type": "External", "external": {"metric": {"name": "m", "selector": {}}, "target": TEN}},
            {"type": "External", "external": {"metricName": "m", "metricSelector": {}, "targetValue": "10"}},
        ),
    ],
)
def test_metrics_are_flat_there_and_the_same_again_here(metric, flat):
    assert metric_to_v1(metric) == flat
    assert metric_from_v1(flat) == metric


def test_what_was_found_has_the_number_that_go_always_writes():
    found = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}
    flat = {"name": "cpu", "currentAverageUtilization": 20, "currentAverageValue": "0"}
    assert status_to_v1(found) == {"type": "Resource", "resource": flat}
    assert status_from_v1(status_to_v1(found))["resource"]["current"]["averageUtilization"] == 20


def test_behaviour_is_kept_by_the_names_of_the_internal_struct():
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}
    kept = behavior_to_v1(behavior)
    assert kept["ScaleUp"]["Policies"] == [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}]
    assert kept["ScaleDown"] is None
    assert behavior_from_v1(kept) == behavior
