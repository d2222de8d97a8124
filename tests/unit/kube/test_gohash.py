"""Hashes and prints against what Go's libraries computed for the types of Kubernetes 1.36."""

import json
from itertools import islice, permutations
from pathlib import Path

import orjson
import pytest

from kubedyno.kube import gohash
from kubedyno.kube.gohash import pod_template_hash, print_hash, printed, revision_hash

GOLDEN = Path(__file__).parents[2] / "golden" / "kube" / "templatehash.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_template_has_the_hash_that_go_gives_it(row):
    assert pod_template_hash(row["template"]) == row["hash"]
    # What earlier templates left behind changes nothing.
    assert pod_template_hash(row["template"]) == row["hash"]


def test_the_order_of_members_does_not_matter_and_a_collision_does():
    template = {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    turned = {"spec": {"containers": [{"image": "i", "name": "c"}]}, "metadata": {"labels": {"c": "d", "a": "b"}}}
    assert pod_template_hash(template) == pod_template_hash(turned)
    assert len({pod_template_hash(template, collisions) for collisions in (None, 1, 2)}) == 3


def test_what_is_remembered_is_bounded_however_clients_write_their_templates():
    spec = {name: {} for name in ("affinity", "dnsConfig", "hostAliases", "nodeSelector", "securityContext", "volumes")}
    spec |= dict.fromkeys(("hostname", "nodeName", "subdomain"), "x")
    for order in islice(permutations(spec), 3000):
        pod_template_hash({"spec": {name: spec[name] for name in order}})
    for number in range(2000):
        pod_template_hash({"spec": {"overhead": {"cpu": f"{number}m"}}})
    for cache in (gohash._steps, gohash._quantity):
        assert 0 < cache.cache_info().currsize <= 2048


def test_a_revision_is_hashed_by_its_json():
    container = {
        "image": "nginx",
        "imagePullPolicy": "Always",
        "name": "c",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"mountPath": "/d", "name": "data"}],
    }
    spec = {
        "containers": [container],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    data = {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "ss"}}, "spec": spec}}}
    assert revision_hash(orjson.dumps(data, option=orjson.OPT_SORT_KEYS), 0) == "74d487dc7d"


def test_ports_have_the_order_of_their_prints_hashes():
    ports = [
        {"name": "a", "port": 1, "protocol": "TCP"},
        {"name": "b", "port": 2, "protocol": "TCP"},
        {"name": "c", "port": 3, "protocol": "UDP"},
        {"name": "d", "port": 4, "protocol": "TCP", "appProtocol": "http"},
        {"name": "e", "port": 5, "protocol": "TCP"},
    ]
    assert printed("core.v1.EndpointPort", ports[0]) == (
        "(v1.EndpointPort){Name:(string)a Port:(int32)1 Protocol:(v1.Protocol)TCP AppProtocol:(*string)<nil>}"
    )
    ports.sort(key=lambda port: print_hash(printed("core.v1.EndpointPort", port)))
    assert [port["name"] for port in ports] == ["c", "b", "a", "d", "e"]
