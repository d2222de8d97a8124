"""k8s-netperf's CSV and its verdict, and the commands of profiles."""

import csv
import io

import pytest

from kubedyno.netperf import comparison, plan, profiles
from kubedyno.netperf.plan import Action, Options
from kubedyno.netperf.results import Figures
from kubedyno.netperf.tables import Result


def stream(scenario, node, *mbps, test="TCP_STREAM"):
    return [
        Result(Action(test, "c", "s", scenario, node, number), Figures(bps=rate * 1e6))
        for number, rate in enumerate(mbps, 1)
    ]


def test_a_line_a_test_with_the_mean_and_its_interval():
    results = [
        *stream("pod-to-pod", "same-node", 100.0, 110.0, 120.0),
        *stream("host-to-host", "other-node", 200.0, test="TCP_STREAM_MULTI"),
        Result(Action("TCP_RR", "c", "s", "pod-to-service", "other-node", 1), Figures(p99_us=44.0, per_s=20_000.0)),
        *stream("pod-to-pod", "other-node", 50.0, test="UDP_STREAM"),
    ]
    rows = list(csv.DictReader(io.StringIO(comparison.csv_of(Options(), results))))
    assert len(rows[0]) == 23
    first, multi, latency, udp = rows
    assert (first["Driver"], first["Profile"], first["Same node"], first["Host Network"]) == (
        "netperf", "TCP_STREAM", "true", "false",
    )  # fmt: skip
    assert (first["# of Samples"], first["Avg Throughput"], first["Throughput Metric"]) == ("3", "110.000000", "Mb/s")
    # Student's t of two degrees of freedom: 4.303 * 10 / sqrt(3).
    assert float(first["Confidence metric - low"]) == pytest.approx(110 - 24.843, abs=0.01)
    assert (multi["Parallelism"], multi["Host Network"], multi["Confidence metric - high"]) == ("4", "true", "0.000000")
    assert (latency["Service"], latency["Throughput Metric"]) == ("true", "OP/s")
    assert (latency["99%tile Observed Latency"], latency["Latency Metric"]) == ("44.000000", "usec")
    assert (udp["Message Size"], first["Message Size"]) == ("1024", "")


@pytest.mark.parametrize(("host", "pod", "passed", "text"), [
    (100.0, 91.0, True, "difference 9.4 % within 10 %"),
    (100.0, 90.0, False, "difference 10.5 % beyond 10 %"),
    (100.0, 150.0, True, "difference -40.0 % within 10 %"),
])  # fmt: skip
def test_pods_may_be_a_tenth_slower_than_hosts(host, pod, passed, text):
    results = [*stream("host-to-host", "same-node", host), *stream("pod-to-pod", "same-node", pod)]
    [(found, line)] = comparison.verdicts_of(results, 10.0)
    assert found is passed
    assert line.endswith(text)


def test_what_has_no_partner_is_not_compared():
    results = [*stream("pod-to-pod", "same-node", 9.0), *stream("host-to-host", "other-node", 9.0)]
    assert comparison.verdicts_of(results, 10.0) == []


def test_profiles_leave_out_both_ends_of_a_run():
    words = " ".join(profiles.record_command(10.0))
    assert words.startswith("nsenter --target=1 --mount -- perf record --freq 99 --all-cpus -g --delay 1000 ")
    assert words.endswith("-- sleep 8.0")
    [server, client] = [one for one in plan.deployments_of(Options(kernel_profiles=True), "a", "b") if one.profiler]
    assert (server.node, client.node) == ("a", "b")
    spec = plan.manifest_of(Options(), server)["spec"]["template"]["spec"]
    assert (spec["hostPID"], spec["hostNetwork"]) == (True, True)
    assert spec["containers"][0]["securityContext"] == {"privileged": True}
    # They are no client of any test.
    actions = plan.actions_of(Options(), plan.deployments_of(Options(kernel_profiles=True), "a", "b"))
    assert len(actions) == 12
