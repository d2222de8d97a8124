"""Transcripts tell wrong output from right output."""

import pytest

from clients import transcripts


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        (["a  b"], "a   b\n", True),
        (["a b"], "a c\n", False),
        (["a ... c"], "a 17 c\n", True),
        (["a ... c"], "a 17 d\n", False),
        (["a", "...", "c"], "a\nb\nb\nc\n", True),
        (["a", "...", "c"], "a\nb\nd\n", False),
        (["a"], "a\nb\n", False),
        (["a", "b"], "a\n\nb\n", True),
        ([], "surprise\n", False),
        (["1.5"], "1x5\n", False),
    ],
)
def test_output_is_compared_by_words_and_lines(expected, printed, fits):
    assert bool(transcripts.pattern_of(expected).fullmatch(transcripts.plain(printed))) == fits


def test_a_step_has_its_output_and_exit_code(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("# why\n$ echo a; exit 3\na\n[3]\n$ true\n")
    first, second = transcripts.read(path)
    assert (first.command, first.line, first.output, first.code) == ("echo a; exit 3", 2, ["a"], 3)
    assert transcripts.run(first, tmp_path, {}) is None
    assert transcripts.run(second, tmp_path, {}) is None
    first.code = 2
    assert "[3]" in str(transcripts.run(first, tmp_path, {}))
