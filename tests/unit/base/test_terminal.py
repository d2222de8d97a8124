"""What strangers write must not act on a terminal."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import columns, excerpt, fitted, printable_lines
from kubedyno.cli import main


def test_line_ends_of_a_text_stay_and_whatever_acts_on_a_terminal_goes() -> None:
    assert printable_lines("one\n\x1b[2Jtwo\r\u202e →\n") == "one\n?[2Jtwo?? →\n"


def test_an_error_with_a_strangers_text_does_not_act_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise KubedynoError("node \x1b]0;mine\x07: is tainted", 3)

    monkeypatch.setattr(main, "_dispatch", fail)
    assert main.main([]) == 3
    assert capsys.readouterr().err == "kubedyno: node ?]0;mine?: is tainted\n"


def test_wide_characters_take_two_columns_and_no_half_of_one_is_left() -> None:
    assert (columns("ab"), columns("日本")) == (2, 4)
    assert [fitted("日本語", width) for width in (6, 5, 4, 1, 0)] == ["日本語", "日本…", "日…", "…", ""]


def test_of_an_answer_the_beginning_is_shown_on_one_line():
    assert excerpt(b"  oh\n\tno\x1b[2J\xff ") == "oh no?[2J\ufffd"
    assert excerpt("ü".encode() * 500, 7) == "üüüüüüü"
