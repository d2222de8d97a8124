"""The local indexer: arrays that grow, are whole at any moment, and are never in memory."""

import json
import os
import signal
import subprocess
import sys
import tracemalloc

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.documents import tarball
from kubedyno.documents.local import LocalIndexer
from kubedyno.documents.stream import Again, is_empty


def read(directory, metric="m"):
    return json.loads((directory / f"{metric}.json").read_text())


def test_later_documents_are_added_by_this_and_by_later_runs(tmp_path):
    first = LocalIndexer(tmp_path)
    assert first.index("m", [{"a": 1}])[1] == 1
    assert first.index("m", iter([{"a": 2}, {"a": "]"}]))[1] == 3
    assert LocalIndexer(tmp_path).index("m", [{"a": 4}])[1] == 4
    assert read(tmp_path) == [{"a": 1}, {"a": 2}, {"a": "]"}, {"a": 4}]


@pytest.mark.parametrize("text", ["[]", "[ ]", '[{"a": 1}]\n\n', '[\n  {"a": 1}\n]\n', ' [{"a": 1},{"b": [1]}]'])
def test_arrays_that_others_wrote_are_added_to(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    before = json.loads(text)
    assert LocalIndexer(tmp_path).index("m", [{"new": 1}])[1] == len(before) + 1
    assert read(tmp_path) == [*before, {"new": 1}]


@pytest.mark.parametrize(("text", "said"), [("{}", "holds no JSON array"), ("[1", "is not JSON"), ("", "is not JSON")])
def test_what_is_no_array_is_left_alone(tmp_path, text, said):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(KubedynoError, match=said):
        LocalIndexer(tmp_path).index("m", [{"a": 1}])
    assert (tmp_path / "m.json").read_text() == text


def test_documents_are_written_as_they_come(tmp_path):
    tracemalloc.start()
    LocalIndexer(tmp_path).index("m", ({"number": number, "text": "x" * 100} for number in range(100_000)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20
    assert len(read(tmp_path)) == 100_000
    tarball.create(tmp_path, tmp_path.parent / "t.tgz")
    ((name, documents),) = tarball.documents(tmp_path.parent / "t.tgz")
    assert (name, len(documents), documents[-1]["number"]) == ("m", 100_000, 99_999)


KILLED = """
import os, signal, sys
from pathlib import Path
from kubedyno.documents.local import LocalIndexer
def some():
    for number in range(50_000):
        yield {"number": number, "text": "x" * 100}
    os.kill(os.getpid(), signal.SIGKILL)
LocalIndexer(Path(sys.argv[1])).index("m", some())
"""


def test_a_killed_writer_leaves_whole_arrays_and_whole_lines(tmp_path):
    LocalIndexer(tmp_path).index("m", [{"before": 1}])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert read(tmp_path) == [{"before": 1}]
    lines = (tmp_path / "m.json.part").read_text().split("\n")
    found = [json.loads(line[1:]) for line in lines[:-1]]
    assert found[:2] == [{"before": 1}, {"number": 0, "text": "x" * 100}]
    assert len(found) > 1000
    assert LocalIndexer(tmp_path).index("m", [{"after": 1}])[1] == 2
    assert not (tmp_path / "m.json.part").exists()


def test_documents_begin_anew_for_each_indexer():
    made = Again(lambda: ({"a": number} for number in range(3)))
    assert not is_empty(made)
    assert list(made) == list(made) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert is_empty([])
