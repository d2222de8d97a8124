"""What enters the run store, and what may go from it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kubedyno.base import processes
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents.net import NetLabRun
from kubedyno.documents.run import FILE_NAME, RunDocument, Target
from kubedyno.documents.runstore import RunRecord
from kubedyno.lab import runremoval, runs


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBEDYNO_HOME", str(tmp_path / "home"))


def written(directory, uuid="u1", started="2026-01-01T00:00:00Z", **more):
    directory.mkdir(parents=True, exist_ok=True)
    run = RunDocument(
        uuid, "0", Target("https://s\x1b[31m", "c", "v1", 1), started, "2026-01-01T00:00:09Z", 0, [], [], [], [], **more
    )
    (directory / f"{FILE_NAME}.json").write_bytes(msgspec.json.encode([run]))
    return directory


def of(number, *, directory="", tags=()):
    return RunRecord(
        f"u{number}", "init", "", float(number), 1.0, "", "", "", "passed", 0, str(directory), {}, tags, number
    )


def test_secrets_are_blotted_out_and_the_digest_knows_a_configuration_by_what_it_does():
    one = {"metricsEndpoints": [{"token": "abc", "esServers": ["https://u:p@q@h:9"], "name": "run-X"}], "qps": 5}
    assert runs.without_secrets(one) == {
        "metricsEndpoints": [{"token": "REDACTED", "esServers": ["https://REDACTED@h:9"], "name": "run-X"}], "qps": 5
    }  # fmt: skip
    other = {"qps": 5, "metricsEndpoints": [{"token": "abc", "esServers": ["https://u:p@q@h:9"], "name": "run-Y"}]}
    assert runs.digest_of(one, "X") == runs.digest_of(other, "Y") != runs.digest_of({**other, "qps": 6}, "Y")


def test_import_list_show_and_tag(tmp_path, capsys):
    whole, half = written(tmp_path / "whole"), tmp_path / "half"
    half.mkdir()
    assert main(["runs", "import", str(whole), str(half), "--tag", "main"]) == 1
    streams = capsys.readouterr()
    assert streams.out == "1 runs of 2 directories\n"
    assert f"{half}: no run in it" in streams.err
    assert main(["runs", "list", "--tag", "main", "--since", "2025-01-01"]) == 0
    listed = capsys.readouterr().out
    assert "https://s?[31m" in listed
    assert "\x1b" not in listed
    assert main(["runs", "tag", "u1", "fast"]) == 0
    assert main(["runs", "tag", "u1", "a b"]) == 1
    capsys.readouterr()
    assert main(["runs", "show", "u1", "-o", "json"]) == 0
    (shown,) = msgspec.json.decode(capsys.readouterr().out)
    assert (shown["tags"], shown["directory"]) == (["fast", "main"], str(whole))


def test_a_damaged_document_is_a_line(tmp_path, capsys):
    written(tmp_path / "x")
    (tmp_path / "x" / f"{FILE_NAME}.json").write_text('[{"uuid": 1')
    assert main(["runs", "import", str(tmp_path / "x")]) == 1
    assert "cannot be read as a run" in capsys.readouterr().err


def test_a_store_that_cannot_be_used_fails_no_run(tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs.db").write_bytes(b"x" * 5000)
    with runs.entered(of(1)) as entry:
        entry.records.append(of(1))
    # Once is enough.
    assert capsys.readouterr().err.count("warning: the run is not registered") == 1


def test_tagged_runs_stay_and_the_latest():
    records = [of(1), of(2, tags=("main",)), of(3), of(4)]
    assert [r.uuid for r in runremoval.to_prune(records, keep=1, older_than_s=None, now_s=10)] == ["u1", "u3"]
    assert [r.uuid for r in runremoval.to_prune(records, keep=None, older_than_s=6.5, now_s=10)] == ["u1", "u3"]
    assert [r.uuid for r in runremoval.to_prune(records, keep=1, older_than_s=8, now_s=10)] == ["u1"]


def test_only_directories_of_documents_alone_go_with_their_runs(tmp_path, monkeypatch):
    whole, shared, mixed, here = (written(tmp_path / name) for name in ("whole", "shared", "mixed", "here"))
    (mixed / "package.json").write_text('{"mine": 1}')
    monkeypatch.chdir(here)
    going = [of(i, directory=d) for i, d in enumerate((whole, shared, mixed, here, tmp_path / "none"))]
    found = runremoval.removals(going, [*going, of(9, directory=shared)])
    assert [bool(r.why_not) for r in found] == [False, True, True, True, True]
    runremoval.remove(found[0])
    assert not whole.exists()
    assert "package.json" in found[2].why_not


def test_prune_names_what_goes_and_asks_for_a_limit(tmp_path, capsys):
    whole = written(tmp_path / "whole")
    assert main(["runs", "import", str(whole)]) == 0
    assert main(["runs", "prune"]) == 1
    assert main(["runs", "prune", "--keep", "0", "--files", "--dry-run"]) == 0
    assert "1 of 1 runs would go" in capsys.readouterr().out
    assert whole.exists()
    assert main(["runs", "prune", "--keep", "0", "--files"]) == 0
    assert f"{whole}: 1 files" in capsys.readouterr().out
    assert not whole.exists()
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out == "no runs\n"


def test_compare_takes_tags_uuids_and_directories_and_slo_of_the_runs_after(tmp_path, capsys):
    figures = {"j.Ready.p99_ms": 100.0, "j.reached_qps": 50.0}
    old = [msgspec.structs.replace(of(i), figures=figures, tags=("main",)) for i in range(3)]
    slow = {"j.Ready.p99_ms": 200.0, "j.reached_qps": 80.0}
    runs.store().add([*old, *(msgspec.structs.replace(of(i), figures=slow) for i in (3, 4, 5))])
    words = ["compare", "--baseline", "tag:main", "--", "u3", "u4", "u5"]
    assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["worse", "better"]
    assert main(["compare", "u0", "u0", "tag:main", "u0", "--", "u3", "u3", "u3"]) == 0
    told = capsys.readouterr()
    assert [line.split()[-6:] for line in told.out.splitlines()[1:]] == [["-", "3,", "1", "not", "enough", "data"]] * 2
    assert "not enough data: 1 runs on a side, at least 3 are needed" in told.err
    slo = tmp_path / "slo.yaml"
    slo.write_text("Ready.p99_ms: 150\n")
    assert main(["compare", "--slo", str(slo), "tag:main", "--", "u3"]) == 1
    assert "j.Ready.p99_ms is 200, the limit is 150 (run u3)" in capsys.readouterr().err
    assert main(["compare", "--slo", str(slo), "u3", "--", "tag:main"]) == 0
    assert main(["compare", "--baseline", "tag:none", "--", "u3"]) == 1
    assert "no run of the store has this tag" in capsys.readouterr().err
    assert main(["compare", "nothing", "--", "u3"]) == 1
    assert "neither a directory nor a run" in capsys.readouterr().err
    assert main(["compare", "u0", "--", "u0"]) == 0
    assert "a run stands on both sides" in capsys.readouterr().err


def test_runs_that_did_not_end_well_are_named_before_their_figures_are_believed(capsys):
    figures = {"j.Ready.p99_ms": 100.0}
    verdicts = ["passed", "killed", "running", "passed", "passed", "failed"]
    runs.store().add([msgspec.structs.replace(of(i), figures=figures, verdict=v) for i, v in enumerate(verdicts)])
    assert main(["compare", "u0", "u1", "u0", "--", "u3", "u4", "u5"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "kubedyno: warning: run u1 is killed: its figures may be those of half a run"
    assert "run u5 is failed" in told[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "is no text"),
        (b"Ready.p99_ms: 5\n---\nfailed: 0\n", "holds 2 documents"),
        (b"Ready.p99_ms: 5\nReady.p99_ms: 6\n", "Ready.p99_ms"),
        (b"#" * (1 << 20) + b"\na: 1\n", "holds more than 1 MiB"),
        (b"", "holds no limits"),
        (b"- a\n", "holds no limits"),
        (b"Ready.p99_ms: .nan\n", "unsupported value"),
        (b"Ready.p99_ms: '5'\n", ":1: the limit of Ready.p99_ms must be a number"),
        (b"a: [\n", "did not find expected node content"),
        (b"nosuch: 1\n", "no run has a figure nosuch; there are: j.Ready.p99_ms"),
    ],
)
def test_what_is_no_file_of_limits_is_a_line(tmp_path, capsys, content, words):
    runs.store().add([msgspec.structs.replace(of(i), figures={"j.Ready.p99_ms": 100.0}) for i in range(2)])
    slo = tmp_path / "slo.yaml"
    slo.write_bytes(content)
    assert main(["compare", "--slo", str(slo), "u0", "--", "u1"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert len(told) == 1
    assert f"{slo}" in told[0]
    assert words in told[0]


RECORDED = Path(__file__).parents[2] / "golden" / "report" / "kube-burner"
# A run that says that it has begun, and then waits for its death.
BEGUN = """
import sys
from pathlib import Path
from kubedyno.lab import runs
record = runs.beginning("killed-1", "init", target="t", config="c.yml", directory=Path(sys.argv[1]))
with runs.entered(record):
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_in_the_store_while_it_lasts_and_its_end_keeps_its_tags(tmp_path, capsys):
    begun = runs.beginning("u1", "init", target="t", config="c.yml", directory=tmp_path)
    with runs.entered(begun) as entry:
        (running,) = runs.store().select()
        assert (running.verdict, running.process) == ("running", processes.identity())
        assert main(["runs", "tag", "u1", "main"]) == 0
        assert main(["runs", "list"]) == 0
        assert "running" in capsys.readouterr().out
        assert main(["runs", "prune", "--keep", "0"]) == 0
        assert capsys.readouterr().out == "0 of 1 runs forgotten\n"
        entry.records.append(msgspec.structs.replace(of(1), started_s=99.0))
    (ended,) = runs.store().select()
    assert (ended.verdict, ended.started_s, ended.tags, ended.process) == ("passed", 99.0, ("main",), "")


@pytest.mark.parametrize(
    ("error", "verdict", "code"),
    [
        (KubedynoError("no"), "failed", 1),
        (ValueError("no"), "failed", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_an_error_that_ends_a_run_is_its_verdict(error, verdict, code):
    with pytest.raises(type(error)), runs.entered(of(1)):
        raise error
    (ended,) = runs.store().select()
    assert (ended.verdict, ended.exit_code, ended.process) == (verdict, code, "")


def test_a_killed_run_is_found_with_what_its_directory_says(tmp_path, capsys):
    metrics = Path(shutil.copytree(RECORDED, tmp_path / "metrics"))
    (metrics / "jobSummary.json").unlink()
    for path in metrics.iterdir():
        path.write_text(path.read_text().replace("b3ee5d74-a75c-5c7a-9e87-6d2a650ebcaf", "killed-1"))
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, str(metrics)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    assert [one.verdict for one in runs.store().select()] == ["running"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert main(["runs", "show", "killed", "-o", "json"]) == 0
    (shown,) = msgspec.json.decode(capsys.readouterr().out)
    assert (shown["verdict"], shown["exit_code"], shown["config"]) == ("killed", 137, "c.yml")
    assert shown["figures"]["tca.Ready.p99_ms"] == 3000
    assert "process" not in shown
    # Once is enough: what is killed stays so.
    assert [one.process for one in runs.store().select()] == [""]


def test_only_a_process_that_is_known_to_be_gone_is(monkeypatch):
    mine = processes.identity()
    host, boot, number, began = mine.split()
    assert not processes.has_ended(mine)
    assert processes.has_ended(f"{host} {boot} {number} {int(began) + 1}")
    assert processes.has_ended(f"{host} another-boot {number} {began}")
    assert processes.has_ended(f"{host} {boot} 4194305 {began}")
    for unknown in (f"elsewhere {boot} 4194305 {began}", "", "x"):
        assert not processes.has_ended(unknown)


def test_many_runs_at_once_are_all_there(tmp_path):
    words = [sys.executable, "-c", BEGUN.replace('"killed-1"', "sys.argv[2]"), str(tmp_path)]
    started = [
        subprocess.Popen([*words, f"u{i}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for i in range(6)
    ]
    assert [process.stdout.readline() for process in started] == ["begun\n"] * 6
    assert {one.verdict for one in runs.store().select()} == {"running"}
    for process in started:
        process.communicate()
    found = runs.store().select()
    assert sorted(one.uuid for one in found) == [f"u{i}" for i in range(6)]
    assert {one.verdict for one in found} == {"passed"}


def test_a_store_of_the_version_before_is_taken_over(tmp_path):
    runs.store().add([of(1, tags=("main",))])
    path = tmp_path / "home" / "runs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN process")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert [(one.uuid, one.tags, one.process) for one in runs.store().select()] == [("u1", ("main",), "")]


def test_runs_of_the_original_are_brought_in_and_compared_by_its_own_clock(tmp_path, capsys):
    ours = Path(shutil.copytree(RECORDED, tmp_path / "ours"))
    uuid = "b3ee5d74-a75c-5c7a-9e87-6d2a650ebcaf"
    for path in ours.iterdir():
        path.write_text(path.read_text().replace(uuid, "u1").replace('"P99":3000', '"P99":1500'))
    written(ours)
    assert main(["runs", "import", str(RECORDED), str(ours)]) == 0
    assert main(["runs", "list", "--kind", "kube-burner"]) == 0
    assert f"{uuid}  kube-burner" in capsys.readouterr().out
    assert main(["compare", "--figure", "Ready.p99_ms", uuid, "--", "u1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [["tca.Ready.p99_ms", "3000", "1500", "-50.0%"]]
    for path in ours.glob("*[!n].json"):
        path.unlink()
    assert main(["compare", uuid, "--", "u1"]) == 1
    assert "run u1: cannot be compared with runs of kube-burner: " in capsys.readouterr().err


def test_a_report_is_made_of_a_run_that_the_store_knows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = Path(shutil.copytree(RECORDED, tmp_path / "metrics"))
    assert main(["runs", "import", "metrics"]) == 0
    (known,) = runs.store().select()
    assert main(["runs", "tag", known.uuid, "main"]) == 0
    capsys.readouterr()
    made = []
    for word in ("metrics", known.uuid[:8], "tag:main"):
        assert main(["report", word, "-o", "markdown"]) == 0
        made.append(capsys.readouterr().out)
    assert made == [made[0]] * 3
    assert known.uuid in made[0]
    shutil.rmtree(metrics)
    assert main(["report", known.uuid]) == 1
    assert capsys.readouterr().err == (
        f"kubedyno: {known.uuid}: its directory {metrics} is gone; the store has its figures: "
        f"kubedyno runs show {known.uuid}\n"
    )
    assert main(["report", "nothing"]) == 1
    assert "neither a directory nor a run of the store" in capsys.readouterr().err


def test_of_a_run_that_was_killed_at_its_beginning_nothing_is_made_up(tmp_path, capsys):
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, str(metrics)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    (metrics / "kubedynoConfig.json").write_text("[]")
    process.kill()
    process.communicate()
    assert main(["runs", "list", "-o", "json"]) == 0
    (listed,) = msgspec.json.decode(capsys.readouterr().out)
    assert (listed["verdict"], listed["took_s"]) == ("killed", 0)
    assert main(["report", str(metrics)]) == 1
    assert "killed before its first job had ended" in capsys.readouterr().err


def test_a_run_that_has_no_report_says_where_its_figures_are(tmp_path, capsys):
    when = "2026-01-01T00:00:00Z"
    document = NetLabRun("u-net", "0", "6.18", {}, when, when, [], {}, [], [], [])
    (tmp_path / "kubedynoNetLab.json").write_bytes(msgspec.json.encode([document]))
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"kubedyno: {tmp_path}: a run of `kubedyno net lab`, which tells its results itself; its figures: "
        "kubedyno runs show u-net; beside others: kubedyno compare\n"
    )
