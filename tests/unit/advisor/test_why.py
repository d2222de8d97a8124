"""Why pods do not run: what is said of those whose containers ended badly."""

from kubedyno.advisor.facts import ClusterFacts
from kubedyno.advisor.why import explain


def failed(name, **status):
    return {"metadata": {"namespace": "n", "name": name}, "spec": {}, "status": {"phase": "Failed", **status}}


def test_failed_pods_say_how_their_containers_ended():
    end = {"terminated": {"exitCode": 3, "reason": "Error"}}
    pods = (
        failed(
            "a",
            containerStatuses=[{"name": "c", "state": end}, {"name": "d", "state": {"terminated": {"exitCode": 0}}}],
        ),
        failed("b", containerStatuses=[{"name": "c", "state": end}]),
        failed("evicted", reason="Evicted", message="The node was low on resource: memory."),
        failed("silent"),
    )
    found = {finding.title: finding.evidence for finding in explain(ClusterFacts(pods=pods))}
    assert found == {
        "2 pods failed: Error, exit code 3": ("container c: Error, exit code 3",),
        "1 pod failed: Evicted": ("The node was low on resource: memory.",),
        "1 pod failed: Failed": ("no message",),
    }
