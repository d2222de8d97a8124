"""Profiles: what is run in which pod, the files it makes, and that trouble never ends a load."""

import base64
import subprocess

import pytest

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.client.exec import Done
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements import nodecollector, pprof

TARGET = {"name": "api", "namespace": "n", "labelSelector": {"app": "x"}, "url": "https://localhost/heap"}


class Pods:
    def __init__(self, *names):
        self.names = names
        self.asked = []

    async def list_all(self, path):
        self.asked.append(path)
        return [{"metadata": {"name": name}, "spec": {"containers": [{"name": "c"}]}} for name in self.names]


def measure(monkeypatch, tmp_path, client, answer, during=None, **options):
    ran = []

    async def run_command(_client, namespace, pod, container, words):
        ran.append((namespace, pod, container, words))
        return answer(pod)

    monkeypatch.setattr(pprof, "run_command", run_command)
    spec = MeasurementSpec("pprof", options={"pprofDirectory": str(tmp_path / "d"), "pprofTargets": [TARGET]} | options)

    async def run():
        one = pprof.Pprof(spec, client, SYSTEM_CLOCK, "", "job")
        await one.start()
        if during:
            await aio.sleep(during)
        await one.stop()
        return one

    return aio.run(run()), ran


def test_each_pod_gives_a_profile_at_the_start_and_at_the_end(monkeypatch, tmp_path):
    client = Pods("p1", "p2")
    one, ran = measure(monkeypatch, tmp_path, client, lambda pod: Done(0, pod.encode(), b""))
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "api-p1-job-end.pprof", "api-p1-job-start.pprof", "api-p2-job-end.pprof", "api-p2-job-start.pprof",
    ]  # fmt: skip
    assert (tmp_path / "d" / "api-p2-job-end.pprof").read_bytes() == b"p2"
    assert ran[0] == ("n", "p1", "c", ["curl", "-fsSLk", "https://localhost/heap"])
    assert client.asked[0] == "/api/v1/namespaces/n/pods?labelSelector=app%3Dx"
    assert one.followed.trouble == []


def test_an_interval_adds_profiles_in_between(monkeypatch, tmp_path):
    measure(monkeypatch, tmp_path, Pods("p"), lambda _pod: Done(0, b"x", b""), 0.05, pprofInterval="10ms")
    assert any(path.stem.rpartition("-")[2].isdigit() for path in (tmp_path / "d").iterdir())


def test_what_cannot_be_fetched_is_trouble_and_no_file(monkeypatch, tmp_path, caplog):
    one, _ = measure(monkeypatch, tmp_path, Pods("p"), lambda _pod: Done(22, b"", b"403 Forbidden"))
    assert one.followed.trouble == ["pprof api: p: exit code 22: 403 Forbidden"]
    # At the start and at the end, told once.
    assert caplog.messages.count("pprof api: p: exit code 22: 403 Forbidden") == 1
    assert not list((tmp_path / "d").iterdir())
    one, _ = measure(monkeypatch, tmp_path, Pods(), lambda _pod: Done(0, b"", b""))
    assert one.followed.trouble == ["pprof api: no pod in n has app=x"]


def test_tokens_and_sockets_are_curls_own_flags():
    entry = TARGET | {"bearerToken": "t", "unixSocketPath": "/run/x.sock"}
    (target,) = pprof.targets_of({"pprofTargets": [entry]})
    assert target.command[2:] == (
        "-H", "Authorization: Bearer t", "--unix-socket", "/run/x.sock", "https://localhost/heap",
    )  # fmt: skip


def test_a_certificate_lies_in_files_of_the_pod_only_while_curl_runs(tmp_path):
    (tmp_path / "key").write_text("KEY")
    curl = tmp_path / "curl"
    curl.write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --cert|--key) cat "$2"; echo " $2";; esac; shift; done\n'
    )
    curl.chmod(0o755)
    entry = TARGET | {"cert": base64.b64encode(b"CERT").decode(), "keyFile": str(tmp_path / "key")}
    (target,) = pprof.targets_of({"pprofTargets": [entry]})
    done = subprocess.run(
        target.command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )  # fmt: skip
    (cert, first), (key, second) = (line.split() for line in done.stdout.splitlines())
    assert (cert, key) == ("CERT", "KEY")
    assert not any(tmp_path.joinpath(path).exists() for path in (first, second))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "a"}, "needs name and url"),
        ({"name": "a", "url": "u"}, "needs a labelSelector"),
        (TARGET | {"bearerToken": "t", "cert": "x", "key": "y"}, "cannot be specified together"),
        (TARGET | {"cert": "x"}, "a certificate needs its key"),
        (TARGET | {"certFile": "/none", "key": "x"}, "/none: cannot be read"),
    ],
)
def test_a_wrong_target_is_named(entry, said):
    with pytest.raises(KubedynoError, match=said):
        pprof.targets_of({"pprofTargets": [entry]})
    with pytest.raises(KubedynoError, match="needs pprofTargets"):
        pprof.targets_of({})


def test_programs_of_nodes_are_asked_from_the_collector_by_token_or_socket():
    kubelet = {"name": "kubelet", "url": "https://localhost:10250/debug/pprof/heap"}
    crio = {"name": "crio", "url": "http://x/debug/pprof/heap", "unixSocketPath": "/var/run/crio/crio.sock"}
    found = pprof.targets_of({"pprofTargets": [kubelet, crio], "nodeAffinity": {"a": "b"}})
    assert [(t.namespace, t.selector, t.of_nodes) for t in found] == [
        ("kube-burner-pprof-collector", "app=kube-burner-pprof-collector", True)
    ] * 2
    token = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"
    line = f'curl -fsSLkH "Authorization: Bearer {token}" https://localhost:10250/debug/pprof/heap'
    assert found[0].command == ("sh", "-c", line)
    assert found[1].command[2:4] == ("--unix-socket", "/mnt/var/run/crio/crio.sock")


def test_the_collector_goes_to_nodes_that_have_all_labels():
    made = nodecollector.daemonset({"b": "2", "a": ""}, "i")
    spec = made["spec"]["template"]["spec"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [
        {
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": [""]},
                {"key": "b", "operator": "In", "values": ["2"]},
            ]
        }
    ]
    assert spec["hostNetwork"] is True
