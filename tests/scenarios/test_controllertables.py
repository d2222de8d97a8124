"""Every script of `controllers/`: what a user sees after what was done, for each controller and failure."""

from pathlib import Path
from typing import Any

import pytest

from .tables import Looked, differs, play, scripts

SCRIPTS = list(scripts(Path(__file__).parent / "controllers"))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("script", [s for _, s in SCRIPTS], ids=[name for name, _ in SCRIPTS])
def test_a_script_shows_its_tables_whatever_the_latencies(script: dict[str, Any], seed: int) -> None:
    script = {**script, "cluster": {**script.get("cluster", {}), "seed": seed}}
    wrong = [look for look in play(script) if differs(look)]
    assert not wrong, "\n\n".join(f"{look.where}, seen:\n{look.seen}expected:\n{look.expected}" for look in wrong)


def test_another_table_is_told_from_the_right_one() -> None:
    assert differs(Looked("", "a  b\n1  2\n", "a b\n1 3\n"))
    assert not differs(Looked("", "a  b\n1  2\n", "a b\n1 2"))


def test_a_script_is_played_the_same_each_time() -> None:
    _, script = SCRIPTS[0]
    assert [look.seen for look in play(script)] == [look.seen for look in play(script)]
