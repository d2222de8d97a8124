"""What `net perf` and `net test` leave: documents, a row of the run store, figures to compare."""

import json

import pytest

from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents.net import NetLabRun, Row
from kubedyno.lab import netperf, runs, target
from kubedyno.netperf import connectivity
from kubedyno.netperf.outcome import Outcome
from kubedyno.netperf.plan import Action, Options
from kubedyno.netperf.results import Figures
from kubedyno.netperf.run import Outputs
from kubedyno.netperf.tables import Result
from kubedyno.report.figures import figure_of


@pytest.fixture(autouse=True)
def cluster(tmp_path, monkeypatch):
    """No cluster is asked: what would be measured there is given."""
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))
    choice = target.Choice(type("Target", (), {"server": "https://c:6443"})())
    monkeypatch.setattr(target, "choose", lambda *_: choice)


def measured(monkeypatch, *rates, error=None):
    async def ran(self):
        for sample, rate in enumerate(rates, 1):
            action = Action("TCP_STREAM", "perf-client", "perf-server", "pod-to-pod", "same-node", sample)
            self.results.append(Result(action, Figures(bps=rate)))
        if error:
            raise error
        return ["done"]

    async def work(_choice, work, **_):
        return await work(None)

    monkeypatch.setattr(netperf.Measurement, "run", ran)
    monkeypatch.setattr(netperf, "_with", work)


def perf(directory):
    return netperf.run(Options(), kubeconfig=None, context=None, yes=True, outputs=Outputs(), directory=directory)


def test_two_measurements_are_filed_registered_and_compared(tmp_path, monkeypatch, capsys):
    for rates in ((1e9, 3e9), (4e9, 4e9)):
        measured(monkeypatch, *rates)
        assert perf(tmp_path / "out") == 0
    first, second = runs.store().select(kind="net perf")
    assert first.figures == {"TCP_STREAM.pod-to-pod.same-node.bps": 2e9}
    assert (first.verdict, first.target) == ("passed", "https://c:6443")
    rows = json.loads((tmp_path / "out" / f"collected-metrics-{first.uuid}" / "netPerf.json").read_text())
    assert [(row["sample"], row["figures"]) for row in rows] == [(1, {"bps": 1e9}), (2, {"bps": 3e9})]
    capsys.readouterr()
    assert main(["compare", "-o", "json", first.directory, "--", second.uuid]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert (found["before"], found["after"]) == (2e9, 4e9)
    [brought_in] = runs.records_in(tmp_path / "out" / f"collected-metrics-{second.uuid}")
    assert brought_in.figures == second.figures


def test_what_an_interrupted_measurement_had_is_kept(tmp_path, monkeypatch):
    measured(monkeypatch, 1e9, error=KubedynoError("net perf: interrupted", EXIT_INTERRUPTED))
    with pytest.raises(KubedynoError):
        perf(tmp_path)
    [record] = runs.store().select(kind="net perf")
    assert (record.verdict, len(record.figures)) == ("interrupted", 1)
    [run] = json.loads((tmp_path / f"collected-metrics-{record.uuid}" / "kubedynoNetPerf.json").read_text())
    assert (run["error"], len(run["rows"]), run["exit_code"]) == ("net perf: interrupted", 1, 130)


def test_a_connectivity_test_is_filed_with_what_failed_and_what_was_skipped(tmp_path, monkeypatch):
    measured(monkeypatch)

    async def ran(self):
        self.outcomes = [
            Outcome("no-policies", 3, 1.0),
            Outcome("dns-only", 1, 1.0, [("curl", "denied")]),
            Outcome("health", skipped="needs Cilium"),
        ]
        return []

    monkeypatch.setattr(netperf.Checking, "run", ran)
    options = connectivity.Options()
    code = netperf.check(
        options, kubeconfig=None, context=None, yes=True, junit=None, properties={}, directory=tmp_path
    )
    assert code == 1
    [record] = runs.store().select(kind="net test")
    assert (record.figures, record.verdict) == ({"failed": 1.0, "passed": 1.0}, "failed")
    rows = json.loads((tmp_path / f"collected-metrics-{record.uuid}" / "netTest.json").read_text())
    assert [row["status"] for row in rows] == ["passed", "failed", "skipped"]
    assert rows[1]["failures"] == [["curl", "denied"]]
    [brought_in] = runs.records_in(tmp_path / f"collected-metrics-{record.uuid}")
    assert brought_in.figures == record.figures


def test_where_documents_cannot_be_written_nothing_is_measured(tmp_path, monkeypatch):
    measured(monkeypatch, 1e9)
    monkeypatch.setattr(netperf.Measurement, "run", lambda _: pytest.fail("it was measured"))
    (tmp_path / "file").touch()
    with pytest.raises(KubedynoError, match="cannot make the metrics directory"):
        perf(tmp_path / "file")
    for outputs in (Outputs(tmp_path / "file" / "x"), Outputs(csv_file=tmp_path / "none" / "x.csv")):
        with pytest.raises(KubedynoError, match=r"--report-dir|--csv"):
            netperf.run(Options(), kubeconfig=None, context=None, yes=True, outputs=outputs, directory=tmp_path)


def test_what_is_neither_better_nor_worse_is_no_figure_of_the_lab(tmp_path):
    median = {"p50_us": 12.0, "count": 7000.0, "per_s": 70_000.0, "sent_bps": 1e9, "mean_packet_bytes": 48_000.0}
    row = Row("u", "t", "ebpf", "ebpf", "same-node", 4, 1500, 65_536, "tcp-rr", "kubedyno", "", [], median, {})
    when = "2026-01-01T00:00:00Z"
    document = NetLabRun("u", "0", "6.18", {}, when, when, [row], {}, [], [], [])
    record = runs.record_of_net_lab(document, tmp_path)
    assert sorted(record.figures) == ["ebpf.same-node.v4.tcp-rr.p50_us", "ebpf.same-node.v4.tcp-rr.per_s"]
    assert not figure_of("ebpf.same-node.v4.tcp-rr.per_s", 1.0).lower_is_better
    assert not figure_of("passed", 1.0).lower_is_better
