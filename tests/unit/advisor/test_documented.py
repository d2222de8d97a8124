"""Every rule, and every flag of these commands, is documented."""

import argparse
import importlib
import re
from pathlib import Path

import pytest

from kubedyno.advisor import (
    advice,
    ciliumclients,
    controlrules,
    noderules,
    runrules,
    walls,
    workloadrules,
)
from kubedyno.advisor.ruleset import CLUSTER, PROBE, RUN
from kubedyno.advisor.tuning import RULES

DOCS = Path(__file__).parents[3] / "docs"


def test_every_rule_is_in_the_page_with_its_own_words() -> None:
    page = (DOCS / "advise.md").read_text()
    assert advice.findings
    for name, function in {**RULES, **CLUSTER.rules, **RUN.rules, **PROBE.rules}.items():
        assert f"| `{name}` | {(function.__doc__ or '').splitlines()[0]} |" in page


# Rule → its bounds in the code.
BOUNDS: dict[str, tuple[float, ...]] = {
    "max-pods-size": (noderules.PODS_PER_NODE, noderules.PODS_PER_CPU),
    "max-pods-addresses": (walls.RESERVED_ADDRESSES,),
    "controller-rates": (controlrules.BUSY_PODS,),
    "service-backends": (workloadrules.BACKENDS,),
    "slices-half-empty": (workloadrules.SLICE_SIZE,),
    "services-on-iptables": (workloadrules.IPTABLES_SERVICES,),
    "exec-probes": (workloadrules.EXEC_PROBES_PER_S,),
    "webhook-latency": (controlrules.WEBHOOK_MEAN_S * 1000, controlrules.ENOUGH),
    "etcd-size": (controlrules.ETCD_QUOTA_B / 2**30,),
    "etcd-latency": (controlrules.WAL_FSYNC_P99_S * 1000, controlrules.BACKEND_COMMIT_P99_S * 1000),
    "run-rate": (runrules.REACHED * 100,),
    "run-pod-starts": (runrules.POD_START_MS / 1000,),
    "client-rate-limits": (
        ciliumclients.AGENT_QPS, ciliumclients.FLEET_QPS, ciliumclients.OPERATOR_QPS, ciliumclients.OPERATOR_BURST,
        ciliumclients.SLICES_LIMIT, ciliumclients.SLICES_BURST,
    ),
    "endpoint-slices": (ciliumclients.LARGE_NODES,),
}  # fmt: skip


@pytest.mark.parametrize("rule", sorted(BOUNDS))
def test_a_bound_is_in_the_page_as_it_is_in_the_code_and_with_its_source(rule: str) -> None:
    _, _, table = (DOCS / "advise.md").read_text().partition("**Bounds**")
    row = next(line for line in table.splitlines() if line.startswith(f"| `{rule}` |"))
    _, _, bound, source, _ = row.split("|")
    for value in BOUNDS[rule]:
        assert re.search(rf"(?<![\d,.]){value:,g}(?!,?\d)", bound), (value, bound)
    assert source.strip()


def test_only_rules_that_there_are_have_bounds() -> None:
    _, _, table = (DOCS / "advise.md").read_text().partition("**Bounds**")
    named = set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE))
    assert named <= {*RULES, *CLUSTER.rules, *RUN.rules, *PROBE.rules}
    assert set(BOUNDS) <= named


@pytest.mark.parametrize("verb", ["advise", "maps", "features", "kyaml", "probe"])
def test_flags_without_help_do_not_exist(verb: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"kubedyno.cli.{verb}").add_arguments(parser)
    assert f"kubedyno {verb}" in (DOCS / f"{verb}.md").read_text()
    for action in parser._actions:
        assert action.help or action.dest == "output", action.dest
    parser.format_help()
