"""A result for people, and for programs."""

import shlex
from dataclasses import asdict

import orjson

from kubedyno.lab.simulation.run import Result
from kubedyno.lab.simulation.scenario import Scenario
from kubedyno.lab.simulation.world import clock_text


def command_of(word: str, seed: int) -> str:
    """Return the command that repeats a run."""
    return f"kubedyno simulate {shlex.quote(word)} --seed {seed}"


def lines(scenario: Scenario, result: Result, word: str, *, brief: bool) -> list[str]:
    """Return a run's story.

    Args:
        scenario: What was run.
        result: What it has shown.
        word: How the command line named it.
        brief: One line, unless something broke.
    """
    factor = result.simulated_s / max(result.wall_s, 1e-9)
    figures = (
        f"{clock_text(result.simulated_s)} simulated in {result.wall_s:.2f} s ({factor:,.0f} times as fast), "
        f"{result.commits:,} commits, {result.pods} pods at the end"
    )
    if result.broken is None and brief:
        return [f"{scenario.name} seed {result.seed}: ok, {figures}"]
    story = [f"{scenario.name}, seed {result.seed}"]
    story += [f"  {clock_text(at_s)}  {line}" for at_s, line in result.timeline]
    broken = result.broken
    if broken is None:
        story += [
            f"verdict: everything held; {figures}",
            f"  commits {result.log_digest}",
            f"  store   {result.store_digest}",
        ]
        return story
    story += [f"verdict: BROKEN at {clock_text(broken.at_s)}: {broken.invariant}", f"  {broken.message}"]
    if result.around:
        story += ["what was committed around it:", *(f"  {line}" for line in result.around)]
    return [*story, f"  {figures}", f"repeat it: {command_of(word, result.seed)}"]


def document(scenario: Scenario, result: Result, word: str) -> str:
    """Return a run as one line of JSON."""
    found = {
        "scenario": scenario.name,
        "seed": result.seed,
        "ok": result.broken is None,
        "broken": None if result.broken is None else asdict(result.broken),
        "timeline": [{"at_s": at_s, "line": line} for at_s, line in result.timeline],
        "around": result.around,
        "simulated_s": result.simulated_s,
        "wall_s": result.wall_s,
        "commits": result.commits,
        "pods": result.pods,
        "restarts": result.restarts,
        "log_digest": result.log_digest,
        "store_digest": result.store_digest,
        "repeat": command_of(word, result.seed),
    }
    return orjson.dumps(found).decode()


def listed(scenarios: list[Scenario]) -> list[str]:
    """Return the table of the scenarios that ship."""
    width = max((len(one.name) for one in scenarios), default=0)
    return [f"{one.name:<{width}}  {' '.join(one.description.split())}" for one in scenarios]
