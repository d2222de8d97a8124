"""Reports of a recorded run, whole; renew one with `kubedyno report tests/golden/report/run -o FORM --out FILE`, and read it."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from kubedyno.cli.main import main
from kubedyno.documents import circumstances
from kubedyno.documents.circumstances import NodeDocument, PodsDocument
from kubedyno.documents.run import Chapter, read_runs
from kubedyno.report import html, replay

GOLDEN = Path(__file__).parents[2] / "golden" / "report"


@pytest.mark.parametrize(("form", "end"), [("html", "html"), ("markdown", "md"), ("junit", "xml"), ("text", "txt")])
def test_the_report_of_a_recorded_run_is_the_golden_one(form, end, tmp_path):
    out = tmp_path / "report"
    assert main(["report", str(GOLDEN / "run"), "-o", form, "--out", str(out)]) == 0
    assert out.read_text() == (GOLDEN / f"report.{end}").read_text()


@pytest.mark.parametrize(("form", "end"), [("markdown", "md"), ("junit", "xml"), ("text", "txt")])
def test_the_report_of_a_run_of_the_original_is_the_golden_one(form, end, tmp_path):
    out = tmp_path / "report"
    assert main(["report", str(GOLDEN / "kube-burner"), "-o", form, "--out", str(out)]) == 0
    assert out.read_text() == (GOLDEN / f"kube-burner.{end}").read_text()
    assert main(["report", str(GOLDEN / "kube-burner"), "--out", str(out)]) == 0
    page = out.read_text()
    assert "kube-burner, by its own documents" in page
    assert "<td>- / - / -</td>" in page


def test_hostile_names_stay_text_and_only_the_one_script_may_run():
    page = (GOLDEN / "report.html").read_text()
    assert page.count("<script") == page.count("</script>") == 2
    assert "<b>pods" not in page
    assert f"script-src {replay.policy()};" in page
    assert not re.search(r"(src|href)=", page)


def test_half_a_directory_makes_half_a_report_that_says_so(tmp_path, capsys):
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(GOLDEN / "run" / "kubedynoRun.json", half)
    (half / "kubedynoPods.json").write_text('[{"uuid": "golden-1", "job"')
    (half / "kubedynoHost.json").write_text('{"not": "an array"}')
    assert main(["report", str(half), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "kubedynoPods.json cannot be read" in page
    assert "kubedynoHost.json cannot be read" in page
    assert "no kubedynoNodes.json" in page
    assert "script-src 'none'" in page


def test_columns_that_do_not_fit_are_told_not_drawn(tmp_path):
    one = msgspec.json.decode((GOLDEN / "run" / "kubedynoPods.json").read_bytes(), type=list[PodsDocument])[0]
    for change in ({"ready": [1]}, {"node": [7] * 12}, {"node": [-2] * 12}):
        (tmp_path / "kubedynoPods.json").write_bytes(msgspec.json.encode([msgspec.structs.replace(one, **change)]))
        found = circumstances.read(tmp_path, "golden-1")
        assert not found.pods
        assert any(line.startswith("kubedynoPods.json:") for line in found.missing)


def test_100_000_pods_are_a_page_of_less_than_5_mb():
    count, nodes = 100_000, [f"node-{i}" for i in range(1000)]
    created = [i * 36 for i in range(count)]
    pods = PodsDocument(
        "golden-1", "", "j", nodes, [i % 1000 for i in range(count)], created, created, [c + 900 + c % 7919 for c in created],
        [-1] * count,
    )  # fmt: skip
    (run,) = read_runs(GOLDEN / "run")
    timeline = [run.jobs[0].timeline[0] | {"second": i} for i in range(20_000)]
    run = msgspec.structs.replace(run, jobs=[msgspec.structs.replace(run.jobs[0], timeline=timeline)])
    fill = [NodeDocument("golden-1", name, 110, 3, 100, "", None) for name in nodes]
    page = html.page("t", [Chapter("c", [], run, around=circumstances.Circumstances(pods=[pods], nodes=fill))])
    assert len(page) < 5_000_000
    assert '"count":100000' in page


def test_more_pods_than_squares_are_drawn_by_every_second():
    count = replay.MAX_SQUARES + 1
    column = list(range(count))
    pods = PodsDocument("u", "", "j", ["n"], [0] * count, column, column, column, [-1] * count)
    data = replay.data_of([pods])
    assert (data["every"], data["count"]) == (2, -(-count // 2))
