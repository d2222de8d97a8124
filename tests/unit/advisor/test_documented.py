"""Every rule, and every flag of these commands, is documented."""

import argparse
import importlib
from pathlib import Path

import pytest

from kubedyno.advisor import advice
from kubedyno.advisor.ruleset import CLUSTER, PROBE, RUN
from kubedyno.advisor.tuning import RULES

DOCS = Path(__file__).parents[3] / "docs"


def test_every_rule_is_in_the_page_with_its_own_words() -> None:
    page = (DOCS / "advise.md").read_text()
    assert advice.findings
    for name, function in {**RULES, **CLUSTER.rules, **RUN.rules, **PROBE.rules}.items():
        assert f"| `{name}` | {(function.__doc__ or '').splitlines()[0]} |" in page


@pytest.mark.parametrize("verb", ["advise", "maps", "features", "kyaml", "probe"])
def test_flags_without_help_do_not_exist(verb: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"kubedyno.cli.{verb}").add_arguments(parser)
    assert f"kubedyno {verb}" in (DOCS / f"{verb}.md").read_text()
    for action in parser._actions:
        assert action.help or action.dest == "output", action.dest
    parser.format_help()
