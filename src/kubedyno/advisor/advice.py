"""All tuning rules on one setup: findings in order, and an overlay of Helm values that has no conflicts."""

from dataclasses import dataclass, replace
from typing import Any

from kubedyno.advisor import (
    ciliumclients,
    ciliumconfig,
    ciliumconflicts,
    ciliumtuning,
    controlrules,
    lifecyclerules,
    noderules,
    runrules,
    workloadrules,
)
from kubedyno.advisor.ciliumvalues import Values, nested
from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.hostfacts import Host
from kubedyno.advisor.ruleset import CLUSTER, PROBE, RUN, ProbeFacts, worst_first
from kubedyno.advisor.tuning import RULES, SEVERITIES, Advice, Setup
from kubedyno.documents.run import RunDocument
from kubedyno.kube import yaml

# Importing a module of rules registers them.
_MODULES = (
    ciliumclients,
    ciliumconflicts,
    ciliumtuning,
    controlrules,
    lifecyclerules,
    noderules,
    runrules,
    workloadrules,
)
# Rules of Setup that speak of hosts alone, whatever the CNI.
HOST_RULES = ("kernel", "tuned", "cpu-governor", "irq")


@dataclass(frozen=True, slots=True)
class Overlay:
    """Values to lay over the present ones.

    Attributes:
        values: Dotted path → value.
        before: The same paths as they are now; None where nothing is set.
        left_out: Names of findings whose values are not in it, and why.
    """

    values: dict[str, Any]
    before: dict[str, Any]
    left_out: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return it as a values file, "" when it is empty."""
        return yaml.dump(nested(self.values)) if self.values else ""


def findings(setup: Setup) -> list[Advice]:
    """Return what every rule says, the worst first."""
    found = [advice for rule in RULES.values() if (advice := rule(setup)) is not None]
    return sorted(found, key=lambda advice: (SEVERITIES.index(advice.severity), advice.rule))


def all_findings(
    setup: Setup | None,
    state: ClusterState | None = None,
    runs: tuple[RunDocument, ...] = (),
    probed: ProbeFacts | None = None,
) -> list[Advice]:
    """Return what the rules say of everything that is known, the worst first.

    Args:
        setup: Cilium's values with what is known of hosts; None: no Cilium.
        state: Of a live cluster.
        runs: Documents of runs; of a rule that speaks of several, the last run's finding counts.
        probed: Facts of a probe, with `setup`'s host made of them.
    """
    found = findings(setup) if setup is not None else []
    if setup is None and (probed or state):
        bare = Setup(Values({}), runrules.host_of(probed) if probed else Host())
        if state is not None and bare.host.kernel is None:
            bare = Setup(Values({}), ciliumconfig.host_of(state))
        found += [advice for name in HOST_RULES if (advice := RULES[name](bare)) is not None]
    if state is not None:
        found += CLUSTER.findings(state)
    if probed is not None:
        found += PROBE.findings(probed)
    by_rule = {advice.rule: advice for run in runs for advice in RUN.findings(run)}
    return worst_first([*found, *by_rule.values()])


def apply_commands(one: Advice, setup: Setup | None, embedded: str = "") -> list[str]:
    """Return all commands that apply a finding; `embedded` names an embedded cluster, whose kubelets have a command of their own."""
    if embedded and one.kubelet:
        return [_kubelet(one, embedded)]
    helm = helm_command(one, setup.values.version) if setup is not None else ""
    return [text for text in (helm, *(patch.command() for patch in one.patches), *one.apply) if text]


def undo_commands(one: Advice, setup: Setup | None, embedded: str = "") -> list[str]:
    """Return all commands that take it back."""
    if embedded and one.kubelet:
        return [_kubelet(one, embedded, undo=True)]
    helm = undo_command(one, setup) if setup is not None else ""
    return [text for text in (helm, *(patch.command(undo=True) for patch in one.patches), *one.undo) if text]


def _kubelet(one: Advice, cluster: str, *, undo: bool = False) -> str:
    """Return the command that changes a kubelet's file of an embedded cluster; null takes a key out: the default is back."""
    pairs = list(one.kubelet)
    if undo:
        # A gate among others is set back by itself, a key with parts as a whole.
        pairs = [(key, "false") if key.startswith("featureGates.") else (key.split(".")[0], "null") for key, _ in pairs]
    sets = "".join(f" --set {key}={value}" for key, value in dict(pairs).items())
    return f"kubedyno cluster kubelet NODE --name {cluster}{sets} --restart   # each node of the evidence"


def overlay(setup: Setup, advice: list[Advice]) -> Overlay:
    """Return the values of the findings that go together.

    In their order, errors first. What would make a conflict, or overwrite what a worse finding sets, stays out; so does what requires
    something that is not known to be there.
    """
    chosen: dict[str, Any] = {}
    left_out: list[tuple[str, str]] = []
    for one in advice:
        if not one.values:
            continue
        if not one.ready:
            left_out.append((one.rule, f"requires {', '.join(one.requires) or 'a decision'}"))
            continue
        change = dict(one.values)
        taken = [path for path in change if path in chosen and chosen[path] != change[path]]
        if taken:
            left_out.append((one.rule, f"{taken[0]} is already set to {chosen[taken[0]]}"))
            continue
        after = _with(setup, {**chosen, **change})
        made = _errors(after) - _errors(_with(setup, chosen))
        if made:
            left_out.append((one.rule, f"would cause {', '.join(sorted(made))}"))
            continue
        chosen |= change
    changed = {path: value for path, value in chosen.items() if setup.values.get(path) != value}
    present = {path: _present(setup, path) for path in changed}
    return Overlay(dict(sorted(changed.items())), dict(sorted(present.items())), tuple(left_out))


def _present(setup: Setup, path: str) -> Any:
    return setup.values.get(path) if setup.values.is_set(path) else None


def _with(setup: Setup, chosen: dict[str, Any]) -> Setup:
    return replace(setup, values=setup.values.with_overlay(chosen))


def _errors(setup: Setup) -> set[str]:
    return {one.rule for one in findings(setup) if one.severity == "error"}


def helm_command(one: Advice, version: str) -> str:
    """Return the command that sets a finding's values, "" when it has none."""
    if not one.values:
        return ""
    chart = f" --version {version}" if version else ""
    sets = "".join(f" --set {path}={_literal(value)}" for path, value in one.values)
    return f"helm upgrade cilium cilium/cilium{chart} --namespace kube-system --reuse-values{sets}"


def undo_command(one: Advice, setup: Setup) -> str:
    """Return the command that sets them back, "" when it has none."""
    if not one.values:
        return ""
    chart = f" --version {setup.values.version}" if setup.values.version else ""
    sets = "".join(f" --set {path}={_literal(_present(setup, path))}" for path, _ in one.values)
    return f"helm upgrade cilium cilium/cilium{chart} --namespace kube-system --reuse-values{sets}"


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
