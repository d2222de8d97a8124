"""Runs that a team keeps in an OpenSearch: written after the connections were closed, listed, named, compared, pruned."""

import json
import tarfile

import msgspec
import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.run import FILE_NAME, Figures, JobDocument, RunDocument, Target
from searchserver import SearchServer

pytest.importorskip("opensearchpy", reason="opensearch-py is an extra")


@pytest.fixture
def index():
    return SearchServer(absent=["new"])


@pytest.fixture
def server(index):
    with index.serving() as url:
        yield url


def run_of(uuid, started, ready_ms=None):
    start = {} if ready_ms is None else {"Ready": Figures(9, *(ready_ms,) * 6)}
    job = JobDocument("j", "create", 1, 1, 1, 1, 1, 1, 0, {}, 9.0, 1.0, 1, 1, None, None, start, {}, [])
    target = Target("https://s", "c", "v1", 1)
    return msgspec.to_builtins(RunDocument(uuid, "0", target, started, "2026-01-03T00:00:00Z", 0, [], [job], [], []))


def names(documents):
    return sorted(one["metricName"] for one in documents.values())


@pytest.fixture
def team(server, capsys):
    """`team(words)` runs `kubedyno` against the index `runs` and returns what it printed."""

    def call(*words, code=0):
        at = words.index("--") if "--" in words else len(words)
        flags = ["--es-server", server, "--es-index", "runs"]
        assert main([*words[:at], *flags, *words[at:]]) == code
        printed = capsys.readouterr()
        return json.loads(printed.out) if "json" in words else printed.err if code else printed.out

    return call


@pytest.fixture
def stored(server):
    def store(*documents):
        OpenSearchIndexer([server], "runs", insecure=True).write(FILE_NAME, documents)

    return store


def test_runs_are_written_after_a_close_and_listed_oldest_first(server, team):
    indexer = OpenSearchIndexer([server], "runs", insecure=True)
    indexer.close()
    indexer.write(FILE_NAME, [run_of("late", "2026-01-02T00:00:00Z"), run_of("early", "2026-01-01T00:00:00Z")])
    indexer.write("other", [{"metricName": f"{FILE_NAME} of another kind"}])
    indexer.close()
    words = ["runs", "list", "-o", "json"]
    assert [one["uuid"] for one in team(*words)] == ["early", "late"]
    assert [one["uuid"] for one in team(*words, "--since", "2026-01-01T12:00:00Z")] == ["late"]
    assert team(*words, "--kind", "study") == []


def test_a_team_gives_runs_names_and_takes_them_away(team, stored, index):
    stored(run_of("4ce0-a", "2026-01-01T00:00:00Z"), run_of("4ce0-b", "2026-01-02T00:00:00Z"))
    team("runs", "tag", "4ce0-a", "main", "nightly")
    assert [one["tags"] for one in team("runs", "list", "-o", "json")] == [["main", "nightly"], []]
    team("runs", "tag", "4ce0-a", "nightly", "--remove")
    assert [(one["uuid"], one["tags"]) for one in team("runs", "list", "--tag", "main", "-o", "json")] == [
        ("4ce0-a", ["main"])
    ]
    # It is indexed again, by an import for example.
    stored(run_of("4ce0-a", "2026-01-01T00:00:00Z"))
    assert "main" in team("runs", "show", "4ce0-a")
    assert "2 runs begin so" in team("runs", "show", "4ce", code=1)
    assert "index runs: no run 'x'" in team("runs", "tag", "x", "y", code=1)
    assert names(index.documents) == [FILE_NAME, FILE_NAME, "kubedynoTag"]


def test_a_team_compares_runs_by_name_and_by_uuid(team, stored):
    for number in range(6):
        stored(run_of(f"u{number}", f"2026-01-0{number + 1}T00:00:00Z", 100.0 + number % 3 + 50 * (number > 2)))
        if number < 3:
            team("runs", "tag", f"u{number}", "main")
    words = ["compare", "tag:main", "-o", "json", "--figure", "Ready.p99_ms"]
    assert team(*words, "--", "u0", "u1", "u2")["j.Ready.p99_ms"]["verdict"] == "same"
    assert team(*words, "--", "u3", "u4", "u5", code=1)["j.Ready.p99_ms"]["verdict"] == "worse"


def test_a_prune_spares_what_has_a_name_and_takes_documents_only_when_told_to(team, stored, index):
    stored(*(run_of(uuid, f"2026-01-0{n}T00:00:00Z") for n, uuid in enumerate(("u-1", "u-2", "u-2", "u-3"), 1)))
    index.documents |= {
        uuid: {"metricName": "podLatencyMeasurement", "uuid": uuid} for uuid in ("u-1", "u-2", "u-3", "u-1-x")
    }
    team("runs", "tag", "u-3", "main")
    before = dict(index.documents)
    assert "3 of 4 runs would go" in team("runs", "prune", "--keep", "0", "--files", "--dry-run")
    assert index.documents == before
    # One of the two runs of u-2 stays, and with it their documents.
    assert "u-1: 2 documents removed" in team("runs", "prune", "--keep", "1", "--files")
    assert "u-1" not in index.documents
    assert "u-1-x" in index.documents
    assert [one["uuid"] for one in team("runs", "list", "-o", "json")] == ["u-2", "u-3"]
    assert "1 of 2 runs forgotten" in team("runs", "prune", "--keep", "0")
    assert names(index.documents) == ["kubedynoRun", "kubedynoTag", *["podLatencyMeasurement"] * 3]


def test_directories_are_brought_into_a_teams_store_which_is_made_for_them(team, server, index, tmp_path, capsys):
    for uuid in "ab":
        (tmp_path / uuid).mkdir()
        (tmp_path / uuid / f"{FILE_NAME}.json").write_text(json.dumps([run_of(uuid, "2026-01-01T00:00:00Z")]))
    words = ["runs", "import", str(tmp_path / "a"), str(tmp_path / "b"), "--tag", "old"]
    assert main([*words, "--es-server", server, "--es-index", "new"]) == 0
    assert capsys.readouterr().out == "2 runs of 2 directories\n"
    path, made = index.mappings[0]
    assert path == "/new"
    assert made["mappings"]["properties"] == {"jobs": {"type": "object", "enabled": False}}
    assert [(one["uuid"], one["tags"]) for one in team("runs", "list", "-o", "json")] == [
        ("a", ["old"]),
        ("b", ["old"]),
    ]


def test_an_index_that_searches_in_jobs_already_takes_runs_as_well(server, index):
    OpenSearchIndexer([server], "old", insecure=True).write(FILE_NAME, [run_of("u", "2026-01-01T00:00:00Z")])
    assert [path for path, _ in index.mappings] == ["/old/_mapping"]
    assert len(index.documents) == 1


def test_an_import_goes_on_after_a_refusal_and_leaves_out_what_is_for_directories(team, index, tmp_path, caplog):
    for name in ("aFirst", "kubedynoApi", "kubedynoConfig", FILE_NAME):
        document = run_of("u", "2026-01-01T00:00:00Z") if name == FILE_NAME else {"metricName": name, "uuid": "u"}
        (tmp_path / f"{name}.json").write_text(json.dumps([document]))
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as archive:
        for path in sorted(tmp_path.glob("*.json")):
            archive.add(path, path.name)
    cause = {"type": "illegal_argument_exception", "reason": 'For input string: "text"'}
    wrong = {"type": "mapper_parsing_exception", "reason": "failed to parse field [n]", "caused_by": cause}
    index.refusing = lambda document: (400, wrong) if document["metricName"] == "aFirst" else None
    words = ["import", "--tarball", str(tmp_path / "t.tgz")]
    team(*words, code=1)
    assert names(index.documents) == [FILE_NAME]
    index.refusing = lambda _document: None
    told = team(*words)
    assert "2 documents imported" in told
    assert "kubedynoApi.json stays in the tarball" in caplog.text
    assert names(index.documents) == ["aFirst", FILE_NAME]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, "Unauthorized"), "401 Unauthorized: wrong user or password"),
        ((403, {"error": {"type": "security_exception", "reason": "no permissions for [x]"}}), "no permissions for [x]"),
        (
            (503, {"error": {"type": "search_phase_execution_exception", "reason": "all shards failed"}}),
            "503 search_phase_execution_exception: all shards failed",
        ),
    ],
)  # fmt: skip
def test_a_server_that_says_no_is_told_in_its_own_words(team, index, answer, told):
    index.failing = lambda: answer
    assert told in team("runs", "list", code=1)


def test_what_cannot_be_read_is_a_line_without_the_login(server, capsys):
    login = server.replace("http://", "http://user:hush@")
    assert main(["runs", "list", "--es-server", login, "--es-index", "missing"]) == 1
    error = capsys.readouterr().err
    assert "index missing cannot be read (404 index_not_found_exception: no such index [missing])" in error
    assert "hush" not in error
    assert main(["runs", "list", "--es-server", server]) == 1
    assert main(["runs", "list", "--es-index", "runs"]) == 1


def test_a_damaged_run_is_a_line(team, index):
    index.documents["d"] = run_of("u", "yesterday")
    assert "holds a run that cannot be read" in team("runs", "list", code=1)
    index.documents["d"] = {"metricName": FILE_NAME, "uuid": 3}
    assert "holds a run that cannot be read" in team("runs", "list", code=1)


def test_documents_do_not_go_to_a_pattern_but_are_read_by_one(server, stored):
    with pytest.raises(KubedynoError, match="is a pattern"):
        OpenSearchIndexer([server], "runs-*", insecure=True)
    stored(run_of("u", "2026-01-01T00:00:00Z"))
    assert OpenSearchIndexer([server], "run*", insecure=True, making=False).read(FILE_NAME)


@pytest.mark.parametrize("url", ["", "http://", "ftp://host", "http://u:hush@host:port", "http://u:p@hush@host:port"])
def test_what_is_no_url_of_a_server_is_told(url):
    with pytest.raises(KubedynoError, match="is no URL of a server") as caught:
        OpenSearchIndexer([url], "runs", insecure=True)
    assert "hush" not in str(caught.value)
