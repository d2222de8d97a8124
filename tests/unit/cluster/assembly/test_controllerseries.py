"""What controllers tell beside their queues."""

from typing import Any

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.assembly.controllerseries import add_controllers
from kubedyno.cluster.settings import ClusterSettings
from unit.cluster.apiserver.harness import Api
from unit.cluster.apiserver.test_metricpages import MERGE, named


def test_zones_blocks_slices_and_autoscalers_are_counted():
    api = Api()
    for number, zone in enumerate(("a", "a", "b", "")):
        labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": zone} if zone else {}
        node: dict[str, Any] = {"metadata": {"name": f"n{number}", "labels": labels}, "spec": {}}
        node["spec"] = {"podCIDR": f"10.244.{number}.0/24", "podCIDRs": [f"10.244.{number}.0/24"]}
        assert api.call("POST", "/api/v1/nodes", node).status == 201
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert api.call("PATCH", "/api/v1/nodes/n0/status", status, MERGE).status == 200
    page = Page()
    add_controllers(page, api.registry.store, ClusterSettings(pod_subnet="10.244.0.0/16", node_cidr_mask=24))
    text = page.text()
    assert sorted(value for _, value in named(text, "node_collector_zone_size")) == [1, 1, 2]
    assert named(text, "node_collector_zone_health", zone="r:\0:a")[0][1] == 50
    assert named(text, "node_collector_unhealthy_nodes_in_zone", zone="r:\0:b")[0][1] == 1
    assert named(text, "node_ipam_controller_cirdset_max_cidrs", clusterCIDR="10.244.0.0/16")[0][1] == 256
    assert named(text, "node_ipam_controller_cidrset_usage_cidrs")[0][1] == 4 / 256
    assert named(text, "endpoint_slice_controller_num_endpoint_slices")[0][1] == 0
    assert named(text, "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers")[0][1] == 0
