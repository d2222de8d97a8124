"""Reports and comparisons from directories of runs, by the command line."""

import json
import xml.etree.ElementTree as ET

import msgspec
import pytest

from kubedyno.cli.main import main
from kubedyno.documents.run import Figures, FindingDocument, JobDocument, RunDocument, Target


def run_of(uuid, ready_ms, failed=0, name="create"):
    figures = Figures(10, ready_ms / 2, ready_ms * 0.9, ready_ms, 1.0, ready_ms, ready_ms / 2)
    job = JobDocument(
        name, "create", 10, 5.0, 5, 10, 10, 10 - failed, 0, {"Conflict": failed} if failed else {}, 5.0, 2.0, 10,
        10 - failed, figures, figures, {"Ready": figures}, {}, [],
    )  # fmt: skip
    wall = FindingDocument("max-pods", "3 pods | <b>", [], ["seen `it`"], ["do this"], "", True, 1.0, True)
    target = Target("https://127.0.0.1:1", "c", "v1.36.0", 1, "kubedyno")
    return RunDocument(
        uuid, "0", target, "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", int(bool(failed)), ["bad\x00thing"] * failed,
        [job], [wall] * bool(failed), ["nothing"],
    )  # fmt: skip


@pytest.fixture
def directory(tmp_path):
    def write(uuid, ready_ms, **more):
        folder = tmp_path / uuid
        folder.mkdir()
        (folder / "kubedynoRun.json").write_bytes(msgspec.json.encode([run_of(uuid, ready_ms, **more)]))
        return str(folder)

    return write


def test_markdown_escapes_what_would_break_a_table(directory, capsys):
    assert main(["report", directory("a", 100, failed=1), "-o", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "**3 pods \\| &lt;b>**" in out
    assert "| create: created to Ready | 50.0 | 90.0 | 100.0 | 100.0 | 10 |" in out


def test_junit_is_well_formed_whatever_the_texts(directory, capsys):
    assert main(["report", directory('a<&"', 100, failed=1), directory("b", 100), "-o", "junit"]) == 0
    suites = ET.fromstring(capsys.readouterr().out)
    assert [(s.get("tests"), s.get("failures")) for s in suites] == [("2", "2"), ("2", "0")]


def test_a_limit_that_is_not_kept_fails_and_one_that_names_nothing_is_told(directory, tmp_path, capsys):
    slo = tmp_path / "slo.yaml"
    slo.write_text("Ready.p99_ms: 90\n")
    assert main(["report", directory("a", 100), "-o", "text", "--slo", str(slo)]) == 1
    assert "create.Ready.p99_ms is 100, the limit is 90 (run a)" in capsys.readouterr().err
    slo.write_text("Ready.p99_ms: 100\n")
    assert main(["report", directory("b", 100), "-o", "text", "--slo", str(slo)]) == 0
    slo.write_text("Redy.p99_ms: 100\n")
    assert main(["report", directory("c", 100), "-o", "text", "--slo", str(slo)]) == 1
    assert "no run has a figure Redy.p99_ms; there are: create.Ready" in capsys.readouterr().err
    slo.write_text("Ready.p99_ms: fast\n")
    assert main(["report", directory("d", 100), "--slo", str(slo)]) == 1
    assert "slo.yaml:1: the limit of Ready.p99_ms must be a number" in capsys.readouterr().err


def test_html_is_written_whole_and_half_a_directory_is_told(directory, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["report", directory("a", 100, failed=1), "--out", str(out)]) == 0
    assert "3 pods | &lt;b&gt;" in out.read_text()
    (tmp_path / "half").mkdir()
    assert main(["report", str(tmp_path / "half")]) == 1
    assert "kubedynoRun.json" in capsys.readouterr().err
    (tmp_path / "half" / "kubedynoRun.json").write_text('[{"uuid": 1')
    assert main(["report", str(tmp_path / "half")]) == 1


def test_compare_says_worse_with_its_interval_and_exit_code(directory, capsys):
    before = [directory(f"a{i}", 100 + i) for i in range(3)]
    after = [directory(f"b{i}", 200 + i) for i in range(3)]
    assert main(["compare", "--figure", "Ready.p99_ms", *before, "--", *after]) == 1
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:4] == ["create.Ready.p99_ms", "101", "201", "+99.0%"]
    assert line.endswith("worse")
    assert main(["compare", "--figure", "Ready.p99_ms", *after, "--", *before]) == 0
    assert main(["compare", "-o", "json", *before, "--", *before]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["create.Ready.p99_ms"]["verdict"] == "same"


def test_flags_of_compare_may_stand_behind_the_runs(directory, capsys):
    before = [directory(f"a{i}", 100 + i) for i in range(3)]
    after = [directory(f"b{i}", 200 + i) for i in range(3)]
    sides = [*before, "--", *after[:2], "--figure", "Ready.p99_ms", after[2], "--tolerance=5%"]
    assert main(["compare", *sides]) == 1
    assert "3, 3" in capsys.readouterr().out
    assert main(["compare", *before, "--", *after, "--figure", "Redy.p99_ms"]) == 1
    said = capsys.readouterr().err
    assert "--figure Redy.p99_ms: the two sides have no such figure; there are create." in said
    with pytest.raises(SystemExit):
        main(["compare", *before, "--", *after, "--bogus", "x"])
    assert "unrecognized arguments: --bogus" in capsys.readouterr().err


def test_a_comparison_as_junit_fails_what_is_worse_and_skips_what_is_unsaid(directory, tmp_path, capsys):
    before = [directory(f"a{i}", 100 + i) for i in range(3)]
    after = [directory(f"b{i}", 200 + i) for i in range(3)]
    slo = tmp_path / "slo.yaml"
    slo.write_text("Ready.p99_ms: 201\n")
    command = ["compare", *before, "--", *after, "--figure", "Ready.p99_ms", "-o", "junit", "--slo", str(slo)]
    assert main(command) == 1
    suite = ET.fromstring(capsys.readouterr().out)[0]
    worse, breach = suite
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "2", "0")
    assert worse[0].get("message") == "worse: 101 before, 201 after (+99.0%), 3 and 3 runs"
    assert "is 202, the limit is 201" in breach[0].get("message", "")
    assert main(["compare", before[0], "--", after[0], "-o", "junit", "--figure", "Ready.p99_ms"]) == 0
    (case,) = ET.fromstring(capsys.readouterr().out)[0]
    assert case[0].tag == "skipped"
    assert case[0].get("message", "").startswith("not enough data")


def test_compare_needs_two_sides_with_something_in_common(directory, capsys):
    one = directory("a", 1)
    assert main(["compare", one]) == 1
    assert "needs two sides" in capsys.readouterr().err
    assert main(["compare", one, "--", directory("b", 1, name="other")]) == 1
    assert "no figure in common" in capsys.readouterr().err
    assert main(["compare", "--tolerance", "x", one, "--", one]) == 1


def test_of_requests_that_fit_into_the_burst_no_rate_is_made_up(tmp_path, capsys):
    run = run_of("b", 100)
    (job,) = run.jobs
    at_once = msgspec.structs.replace(job, burst=20, reached_qps=35663.6)
    (tmp_path / "kubedynoRun.json").write_bytes(msgspec.json.encode([msgspec.structs.replace(run, jobs=[at_once])]))
    told = ""
    for form in ("markdown", "text"):
        assert main(["report", str(tmp_path), "-o", form]) == 0
        told += capsys.readouterr().out
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 0
    told += (tmp_path / "r.html").read_text()
    assert "35663" not in told
    assert "fitted into the burst of 20" in told
    assert "all within the burst: qps limited none" in told
