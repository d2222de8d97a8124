"""The study's numbers: they are what the product is measured by."""

import pytest

PODS = "/api/v1/pods"


def jobs_done(document):
    return [(job.name, job.accepted, job.pods_ready) for job in document.jobs]


@pytest.fixture(scope="module")
def study(up):
    cluster = up("study", addons="study", version="1.33")
    cluster.until(lambda: len(cluster.list(PODS)) == 16)
    return cluster.settled()


def test_sixteen_system_pods_of_which_seven_have_no_address_of_their_own(study):
    pods = study.list(PODS)
    assert len(pods) == 16
    assert sum(bool(pod["spec"].get("hostNetwork")) for pod in pods) == 7


def test_scenario_1_runs_and_its_delete_job_leaves_nothing(study):
    assert jobs_done(study.run("s1-config.yaml")) == [("create-deployments", 1, 1)]
    assert jobs_done(study.run("s1-10x2-config.yaml")) == [("create-deployments", 20, 20)]
    document = study.run("s1-config-delete.yaml", fail_when_stuck_s=None)
    assert document.exit_code == 0
    assert document.jobs[0].accepted == 30
    assert len(study.list(PODS)) == 16


def test_scenario_2_leaves_six_pods_pending_at_110_and_none_at_150(study):
    document = study.run("s2-config.yaml")
    assert document.exit_code == 1
    finding = study.finding("max-pods")
    assert len(finding.pods) == 6
    assert finding.evidence[0] == (
        "0/1 nodes are available: 1 Too many pods. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert f"kubedyno cluster kubelet {study.node} --name study --set maxPods=150 --restart" in finding.remedy
    study.set_max_pods(150)
    study.settled()
    assert len(study.list(PODS)) == 116
    study.run("s1-config-delete.yaml", fail_when_stuck_s=None)


def test_scenario_3_leaves_56_pods_without_a_sandbox_at_a_24(study):
    study.set_max_pods(400)
    document = study.run("s3-config.yaml")
    assert document.exit_code == 1
    finding = study.finding("pod-cidr")
    assert len(finding.pods) == 56
    assert "no IP addresses available in range set: 10.244.0.1-10.244.0.254" in finding.evidence[0]
    assert "kubedyno cluster up --name study-22 --node-cidr-mask 22 --max-pods 400" in finding.remedy[0]
    events = study.list("/api/v1/events?fieldSelector=reason=FailedCreatePodSandBox")
    assert len({event["involvedObject"]["uid"] for event in events}) == 56


def test_scenario_3_completes_on_a_cluster_with_a_22(up):
    cluster = up("larger", addons="study", version="1.33", max_pods=400, node_cidr_mask=22).settled()
    document = cluster.run("s3-config.yaml")
    assert document.exit_code == 0
    assert jobs_done(document) == [("create-deployments", 300, 300)]


def test_without_add_ons_nothing_waits_in_scenario_2_and_fifty_in_scenario_3(up):
    cluster = up("plain", version="1.33").settled()
    assert len(cluster.list(PODS)) == 9
    document = cluster.run("s2-config.yaml")
    assert (document.exit_code, document.jobs[0].pods_ready) == (0, 100)
    cluster.run("s1-config-delete.yaml", fail_when_stuck_s=None)
    cluster.set_max_pods(400)
    cluster.run("s3-config.yaml")
    assert len(cluster.finding("pod-cidr").pods) == 50
