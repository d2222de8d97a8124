"""The objects that every cluster has."""

import time

from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.kube.resources import by_kind


def test_the_objects_of_every_cluster_can_be_created_and_name_each_other(cluster):
    for namespace in ("kube-system", "kube-public"):
        cluster.add_namespace(namespace)
    objects = bootstrap_objects()
    warnings: list[str] = []
    started = time.process_time()
    for obj in objects:
        resource = by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        namespace = obj["metadata"].get("namespace", "")
        cluster.registry.create(resource, namespace, obj, field_validation="Strict", warnings=warnings)
    assert time.process_time() - started < 0.5
    assert warnings == []
    names = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects}
    for obj in objects:
        reference = obj.get("roleRef")
        if reference:
            namespace = obj["metadata"].get("namespace", "") if reference["kind"] == "Role" else ""
            assert (reference["kind"], namespace, reference["name"]) in names
        level = obj.get("spec", {}).get("priorityLevelConfiguration")
        if level:
            assert ("PriorityLevelConfiguration", "", level["name"]) in names


def test_every_controller_has_a_role_of_its_name_and_is_bound_to_it():
    objects = bootstrap_objects()
    prefix = "system:controller:"
    roles = {o["metadata"]["name"] for o in objects if o["kind"] == "ClusterRole"}
    bound = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ClusterRoleBinding"}
    controllers = {name for name in roles if name.startswith(prefix)}
    assert {
        prefix + n for n in ("resource-claim-controller", "service-cidrs-controller", "route-controller")
    } <= controllers
    for name in controllers:
        subject = {"kind": "ServiceAccount", "name": name.removeprefix(prefix), "namespace": "kube-system"}
        assert bound[name]["subjects"] == [subject]
