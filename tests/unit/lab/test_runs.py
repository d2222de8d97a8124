"""What enters the run store, and what may go from it."""

import msgspec
import pytest

from kubedyno.cli.main import main
from kubedyno.documents.run import FILE_NAME, RunDocument, Target
from kubedyno.documents.runstore import RunRecord
from kubedyno.lab import runs


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
    one = {"metricsEndpoints": [{"token": "abc", "esServers": ["https://u:p@h:9"], "name": "run-X"}], "qps": 5}
    assert runs.without_secrets(one) == {
        "metricsEndpoints": [{"token": "REDACTED", "esServers": ["https://REDACTED@h:9"], "name": "run-X"}], "qps": 5
    }  # fmt: skip
    other = {"qps": 5, "metricsEndpoints": [{"token": "abc", "esServers": ["https://u:p@h:9"], "name": "run-Y"}]}
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
    runs.register(of(1))
    assert "warning: the run is not registered" in capsys.readouterr().err


def test_tagged_runs_stay_and_the_latest():
    records = [of(1), of(2, tags=("main",)), of(3), of(4)]
    assert [r.uuid for r in runs.to_prune(records, keep=1, older_than_s=None, now_s=10)] == ["u1", "u3"]
    assert [r.uuid for r in runs.to_prune(records, keep=None, older_than_s=6.5, now_s=10)] == ["u1", "u3"]
    assert [r.uuid for r in runs.to_prune(records, keep=1, older_than_s=8, now_s=10)] == ["u1"]


def test_only_directories_of_documents_alone_go_with_their_runs(tmp_path, monkeypatch):
    whole, shared, mixed, here = (written(tmp_path / name) for name in ("whole", "shared", "mixed", "here"))
    (mixed / "package.json").write_text('{"mine": 1}')
    monkeypatch.chdir(here)
    going = [of(i, directory=d) for i, d in enumerate((whole, shared, mixed, here, tmp_path / "none"))]
    found = runs.removals(going, [*going, of(9, directory=shared)])
    assert [bool(r.why_not) for r in found] == [False, True, True, True, True]
    runs.remove(found[0])
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
    assert main(["compare", "u0", "--", "u3"]) == 0
    assert "not enough data" in capsys.readouterr().out
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
