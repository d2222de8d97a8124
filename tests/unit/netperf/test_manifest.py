"""iperf3 deployments of a file: who is who, and what is run."""

from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.netperf.manifest import command_of, manifest_of

STUDY = Path("examples/study/iperf3.yaml")


def documents():
    return yaml.load_all(STUDY.read_text())


def test_the_studys_file_is_taken_as_it_is():
    found = manifest_of(documents(), "iperf3.yaml")
    assert [body["kind"] for _, body in found.objects] == ["Deployment", "Service", "Deployment"]
    assert [body for _, body in found.objects] == documents()
    assert (found.client, found.server) == ({"app": "iperf3-client"}, {"app": "iperf3-server"})
    assert (found.container, found.service, found.port) == ("iperf3-client", "iperf3-server", 5201)


def test_commands_are_the_studys_and_take_another_time():
    assert command_of(("-t", "5", "--bidir"), "web", 5201, None) == ["iperf3", "-J", "-c", "web", "-t", "5", "--bidir"]
    assert command_of(("-t", "5", "--bidir"), "web", 80, 2.0) == (
        ["iperf3", "-J", "-c", "web", "-p", "80", "--bidir", "-t", "2"]
    )


@pytest.mark.parametrize(("change", "words"), [
    (lambda d: [*d, {"kind": "Pod"}], "document 4 is Pod; only Deployments and a Service are taken"),
    (lambda d: [*d, "text"], "document 4 is no object"),
    (lambda d: [d[0], d[2]], "0 Services; one is needed"),
    (lambda d: [d[0], d[1]], "selects 1 of 1 Deployments; one that it selects is the server"),
    (lambda d: [d[0], {**d[1], "spec": {"selector": {"app": "x"}, "ports": [{"port": 1}]}}, d[2]], "selects 0 of 2"),
    (lambda d: [d[0], {**d[1], "spec": {}}, d[2]], "has no 'selector'"),
    (lambda d: [d[0], {**d[1], "spec": {"selector": {"app": "iperf3-server"}, "ports": []}}, d[2]], "has no TCP port"),
])  # fmt: skip
def test_what_is_no_pair_is_refused_in_a_line(change, words):
    with pytest.raises(KubedynoError, match=r"^f\.yaml: ") as caught:
        manifest_of(change(documents()), "f.yaml")
    assert words in str(caught.value)
