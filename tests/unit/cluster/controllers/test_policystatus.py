"""Policies say which of their generations has been taken note of."""

from kubedyno.kube.resources import by_plural

from .conftest import Cluster

POLICIES = by_plural("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}


def test_a_policy_tells_its_observed_generation():
    cluster = Cluster()
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}]}
    cluster.create(POLICIES, {"metadata": {"name": "p"}, "spec": spec}, "")
    cluster.drain()
    assert cluster.get(POLICIES, "p", "")["status"] == {"observedGeneration": 1}
    changed = {**spec, "failurePolicy": "Ignore"}
    cluster.registry.modify(POLICIES, "", "p", lambda policy: {**policy, "spec": changed})
    cluster.drain()
    policy = cluster.get(POLICIES, "p", "")
    assert (policy["metadata"]["generation"], policy["status"]) == (2, {"observedGeneration": 2})
