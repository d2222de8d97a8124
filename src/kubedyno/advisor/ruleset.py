"""Rules by what they judge: a cluster, a run, a probed host. A rule is one function, named by it, dashes for underscores."""

from collections.abc import Callable
from typing import Generic, TypeVar

from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.tuning import SEVERITIES, Advice
from kubedyno.documents.run import RunDocument

T = TypeVar("T")
# Facts of a probe: (group, name) → value, as `kubedyno probe` tells them.
ProbeFacts = dict[tuple[str, str], str]
# So much evidence of one kind is shown; the count says how much there is.
SHOWN = 5


class Ruleset(Generic[T]):
    """Rules that judge one kind of thing; used as a decorator."""

    def __init__(self) -> None:
        self.rules: dict[str, Callable[[T], Advice | None]] = {}

    def __call__(self, function: Callable[[T], Advice | None]) -> Callable[[T], Advice | None]:
        """Register a rule."""
        name = function.__name__.replace("_", "-")
        if name in self.rules:
            raise ValueError(f"two rules are named {name}")
        self.rules[name] = function
        return function

    def findings(self, subject: T) -> list[Advice]:
        """Return what every rule says of a subject."""
        return [advice for rule in self.rules.values() if (advice := rule(subject)) is not None]


CLUSTER: Ruleset[ClusterState] = Ruleset()
RUN: Ruleset[RunDocument] = Ruleset()
PROBE: Ruleset[ProbeFacts] = Ruleset()


def worst_first(found: list[Advice]) -> list[Advice]:
    """Return findings in the order in which they are told."""
    return sorted(found, key=lambda advice: (SEVERITIES.index(advice.severity), advice.rule))


def shown(lines: list[str]) -> tuple[str, ...]:
    """Return the first of so many lines of evidence, and how many more there are."""
    more = (f"and {len(lines) - SHOWN} more",) if len(lines) > SHOWN else ()
    return (*lines[:SHOWN], *more)
