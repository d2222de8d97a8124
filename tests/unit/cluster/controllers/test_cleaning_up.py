"""What nobody else removes: pods that have ended, Secrets of accounts that are gone."""

import pytest

from kubedyno.cluster.controllers import manager
from kubedyno.cluster.controllers.podgc import PodGarbage
from kubedyno.kube.resources import PODS, SECRETS, SERVICEACCOUNTS

from .conftest import Cluster

CONTAINERS = [{"name": "c", "image": "i"}]


@pytest.fixture
def few(monkeypatch):
    """A cluster that keeps three pods that have ended."""
    monkeypatch.setattr(manager, "PodGarbage", lambda *args: PodGarbage(*args, kept=3))
    return Cluster(kubelet=False)


def end(cluster, name):
    record = cluster.create(PODS, {"metadata": {"name": name}, "spec": {"containers": CONTAINERS, "nodeName": "n1"}})
    cluster.set_ready(record, ready=False, phase="Succeeded")
    cluster.drain()


def test_pods_that_have_ended_are_kept_up_to_a_number(few):
    for number in range(5):
        end(few, f"p{number}")
    few.advance(19)
    assert len(few.pods()) == 5
    few.advance(2)
    assert few.names(PODS) == ["p2", "p3", "p4"]


def test_pods_that_run_are_not_counted(few):
    for number in range(5):
        few.create(PODS, {"metadata": {"name": f"p{number}"}, "spec": {"containers": CONTAINERS, "nodeName": "n1"}})
    end(few, "ended")
    few.advance(60)
    assert len(few.pods()) == 6


def secret(name, account, uid=None):
    annotations = {"kubernetes.io/service-account.name": account}
    if uid:
        annotations["kubernetes.io/service-account.uid"] = uid
    kind = "kubernetes.io/service-account-token"
    return {"metadata": {"name": name, "annotations": annotations}, "type": kind}


def test_token_secrets_go_with_their_account():
    cluster = Cluster()
    for name in ("a", "b"):
        cluster.create(SERVICEACCOUNTS, {"metadata": {"name": name}})
        cluster.create(SECRETS, secret(f"token-{name}", name))
    cluster.create(SECRETS, secret("orphan", "nobody"))
    cluster.create(SECRETS, secret("older", "b", uid="of-an-older-account"))
    cluster.create(SECRETS, {"metadata": {"name": "other"}})
    cluster.drain()
    assert cluster.names(SECRETS) == ["other", "token-a", "token-b"]
    cluster.delete(SERVICEACCOUNTS, "a")
    cluster.drain()
    assert cluster.names(SECRETS) == ["other", "token-b"]
