"""Runs of which only kube-burner's documents tell: recorded ones of the original, and halves of them."""

import shutil
from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.documents import kubeburner
from kubedyno.report.figures import figures_of

RECORDED = Path(__file__).parents[2] / "golden" / "report" / "kube-burner"
OWN = Path(__file__).parents[2] / "golden" / "report" / "run"
UUID = "b3ee5d74-a75c-5c7a-9e87-6d2a650ebcaf"


@pytest.fixture
def directory(tmp_path):
    return Path(shutil.copytree(RECORDED, tmp_path / "metrics"))


def test_a_run_of_the_original_is_what_its_documents_say(directory):
    (run,) = kubeburner.runs_in(directory)
    assert (run.uuid, run.kind, run.exit_code) == (UUID, "kube-burner", 0)
    assert (run.target.version, run.target.nodes) == ("v1.36.2", 5)
    assert (run.started, run.ended) == ("2026-11-24T01:42:47.829797399Z", "2026-11-24T01:42:52.529195299Z")
    assert [(job.name, job.iterations, job.qps) for job in run.jobs] == [("tca", 1, 20.0), ("tcb", 2, 20.0)]
    figures = {figure.name: figure.value for figure in figures_of(run)}
    assert figures["tca.Ready.p99_ms"] == 3000
    assert figures["tca.elapsed_s"] == 4
    # Nobody counted requests: none of them is said to have failed, and none not to have.
    assert not [name for name in figures if name.endswith((".failed", ".retried", ".not_ready"))]


def test_half_a_run_is_told_as_killed_with_what_was_written(directory):
    (directory / "jobSummary.json").unlink()
    (run,) = kubeburner.runs_in(directory)
    assert (run.exit_code, run.errors) == (137, [kubeburner.KILLED])
    assert [figure.name for figure in figures_of(run) if figure.name.endswith("elapsed_s")] == []
    assert run.jobs[0].start_server_ms["Ready"].count == 1


def test_other_measurements_have_names_of_their_own(directory):
    path = directory / "podLatencyQuantilesMeasurement-tca.json"
    text = path.read_text().replace("podLatencyQuantiles", "svcLatencyQuantiles").replace('"P99":3000', '"P99":7')
    (directory / "svcLatencyQuantilesMeasurement-tca.json").write_text(text)
    (run,) = kubeburner.runs_in(directory)
    figures = {figure.name: figure.value for figure in figures_of(run)}
    assert (figures["tca.Ready.p99_ms"], figures["tca.svcLatency.Ready.p99_ms"]) == (3000, 7)


def test_our_own_document_comes_first_and_others_stand_beside(directory):
    shutil.copytree(OWN, directory, dirs_exist_ok=True)
    assert [run.uuid for run in kubeburner.runs_in(directory)] == ["golden-1", UUID]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("jobSummary.json", '[{"uuid": 1}]', "jobSummary.json: cannot be read as documents of kube-burner"),
        ("jobSummary.json", "[", "jobSummary.json: cannot be read as documents of kube-burner"),
        ("podLatencyQuantilesMeasurement-x.json", '{"a": 1}', "Measurement-x.json: cannot be read as documents"),
        ("jobSummary.json", '[{"uuid": "u", "timestamp": "soon"}]', "has the time 'soon', which is none"),
    ],
)
def test_damaged_documents_are_one_line(directory, name, text, told):
    (directory / name).write_text(text)
    with pytest.raises(KubedynoError, match=told):
        kubeburner.runs_in(directory)


def test_a_directory_of_something_else_is_told(tmp_path):
    with pytest.raises(KubedynoError, match="no run in it"):
        kubeburner.runs_in(tmp_path)
    with pytest.raises(KubedynoError, match=r"no jobSummary\.json"):
        kubeburner.as_kube_burner(tmp_path)
