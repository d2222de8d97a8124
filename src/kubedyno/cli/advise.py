"""`kubedyno advise`: what to tune, from a live cluster, a run, a probe, or Cilium's values and command lines."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--cilium-values", action="append", default=[], metavar="FILE", help="Helm values; repeatable")
    parser.add_argument(
        "--cilium-command",
        metavar="FILE",
        help="file with cilium or helm install and upgrade lines (- is standard input)",
    )
    parser.add_argument("--kind-config", metavar="FILE", help="kind configuration that the pod CIDR is taken from")
    parser.add_argument("--pod-cidr", action="append", default=[], metavar="CIDR", help="the pods' network; repeatable")
    parser.add_argument("--nodes", type=int, metavar="N", help="number of nodes")
    parser.add_argument("--kernel", metavar="VERSION", help="of the nodes, such as 6.8")
    parser.add_argument(
        "--nic-driver", action="append", default=[], metavar="NAME", help="of the nodes' NICs; repeatable"
    )
    parser.add_argument("--this-host", action="store_true", help="the nodes are like this host: probe it")
    parser.add_argument(
        "--cluster", action="store_true", help="a live cluster (the default with nothing else to judge)"
    )
    parser.add_argument("--run", action="append", default=[], metavar="DIR", help="a run's documents; repeatable")
    parser.add_argument(
        "--net", metavar="DIR", help="metrics directory of a net lab: its figures are the expected effects"
    )
    parser.add_argument("--probe", metavar="FILE", help="facts of a node, by kubedyno probe -o json")
    parser.add_argument(
        "--apply", action="append", default=[], metavar="RULE", help="apply that finding to the cluster; repeatable"
    )
    parser.add_argument("--yes", action="store_true", help="with --apply: do not ask")
    parser.add_argument("--overlay", metavar="FILE", help="write the values overlay to a file")
    parser.add_argument("--all", action="store_true", help="notes too")
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml", "kyaml"), default="text")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print findings and an overlay; exit code 2 when an error was found."""
    from kubedyno.advisor import advice, labfigures

    sources = (arguments.cilium_values, arguments.cilium_command, arguments.run, arguments.probe)
    live = arguments.cluster or bool(arguments.apply) or not any(sources)
    choice, state = _live(arguments) if live else (None, None)
    probed = _probed(arguments.probe) if arguments.probe else None
    runs = tuple(run for directory in arguments.run for run in _runs(directory))
    setup = _setup(arguments, state, probed)
    found = advice.all_findings(setup, state, runs, probed)
    if arguments.net:
        found = labfigures.with_figures(found, labfigures.read(Path(arguments.net)), _kernel(setup, state, probed))
    overlay = advice.overlay(setup, found) if setup is not None else advice.Overlay({}, {}, ())
    if arguments.overlay:
        try:
            Path(arguments.overlay).write_text(overlay.text())
        except OSError as error:
            raise KubedynoError(f"{arguments.overlay}: {error.strerror}") from error
    missing = state.missing if state is not None else ()
    if arguments.apply and choice is not None:
        return _apply(arguments, choice, setup, found)
    if arguments.output == "text":
        print("\n".join(_lines(arguments, setup, found, overlay, missing, _embedded(choice))))
    else:
        _document(arguments, setup, found, overlay, missing, _embedded(choice))
    return 2 if any(one.severity == "error" for one in found) else 0


def _kernel(setup: Any, state: Any, probed: Any) -> str | None:
    """Return the release of the nodes' kernel, None when nothing says it."""
    from kubedyno.advisor import ciliumconfig, runrules

    if setup is not None:
        return setup.host.kernel or None
    if probed is not None:
        return runrules.host_of(probed).kernel
    return ciliumconfig.host_of(state).kernel if state is not None else None


def _embedded(choice: Any) -> str:
    """Return the name of an embedded cluster, "" of a real one."""
    return choice.running.name if choice is not None and choice.running is not None else ""


def _document(
    arguments: argparse.Namespace, setup: Any, found: list[Any], overlay: Any, missing: tuple[str, ...], embedded: str
) -> None:
    from kubedyno.advisor import advice
    from kubedyno.kube import forms

    entries = []
    for one in found:
        entry = asdict(one)
        entry["values"] = dict(one.values)
        entry["command"] = advice.helm_command(one, setup.values.version) if setup is not None else ""
        entry["undo_command"] = advice.undo_command(one, setup) if setup is not None else ""
        entry["apply"] = advice.apply_commands(one, None, embedded)
        entry["undo"] = advice.undo_commands(one, None, embedded)
        entries.append(_plain(entry))
    document = {
        "findings": entries,
        "overlay": overlay.values,
        "undo": overlay.before,
        "leftOut": dict(overlay.left_out),
        "notes": list(setup.values.notes) if setup is not None else [],
        "missing": list(missing),
    }
    print(forms.text_of(document, arguments.output), end="")


def _live(arguments: argparse.Namespace) -> tuple[Any, Any]:
    from kubedyno.base import aio
    from kubedyno.lab import advise, target

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    return choice, aio.run(advise.read(choice))


def _apply(arguments: argparse.Namespace, choice: Any, setup: Any, found: list[Any]) -> int:
    from kubedyno.lab import advise

    change = advise.plan(found, arguments.apply, setup)
    advise.confirm(change, f"{choice.target.server} (context {choice.target.context})", yes=arguments.yes)
    done = advise.apply(choice, change, kubeconfig=arguments.kubeconfig, context=arguments.kube_context)
    print("\n".join([*done, "undo it with:", *(f"  {line}" for line in change.undo)]))
    return 0


def _probed(path: str) -> Any:
    from kubedyno.advisor import runrules
    from kubedyno.kube import yaml

    tree = yaml.load(_read(path), path)
    try:
        return runrules.facts_of(tree)
    except (KeyError, TypeError) as error:
        raise KubedynoError(f"{path}: no facts in it; write it with kubedyno probe -o json") from error


def _runs(directory: str) -> list[Any]:
    from kubedyno.documents.run import read_runs

    return read_runs(Path(directory))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _read(path: str) -> str:
    import sys

    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except UnicodeDecodeError as error:
        raise KubedynoError(f"{path}: not a text") from error
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}") from error


def _setup(arguments: argparse.Namespace, state: Any, probed: Any) -> Any:
    """Return what the rules of Cilium judge by; None when nothing says that there is Cilium."""
    import ipaddress

    from kubedyno.advisor import ciliumconfig, ciliumvalues, host, runrules
    from kubedyno.advisor.hostfacts import Host
    from kubedyno.advisor.tuning import Setup

    running = ciliumconfig.setup_of(state) if state is not None else None
    if not arguments.cilium_values and not arguments.cilium_command and running is None:
        return None
    values = running.values if running is not None else ciliumvalues.Values({})
    if arguments.cilium_command:
        text = _read(arguments.cilium_command)
        values = ciliumvalues.of_command(text, arguments.cilium_command, Path(arguments.cilium_command).parent)
    for path in arguments.cilium_values:
        over = ciliumvalues.of_text(_read(path), path)
        values = replace(values, tree=ciliumvalues.merge(values.tree, over.tree), notes=(*values.notes, *over.notes))
    cidrs = list(arguments.pod_cidr)
    nodes = arguments.nodes
    if nodes is not None and nodes < 1:
        raise KubedynoError(f"--nodes {nodes}: must be 1 or more")
    proxy = running.kube_proxy if running is not None else None
    if arguments.kind_config:
        found, count, proxy = _kind(arguments.kind_config)
        cidrs += found
        nodes = count if nodes is None else nodes
    for cidr in cidrs:
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError as error:
            raise KubedynoError(f"--pod-cidr {cidr}: {error}") from error
    if running is not None:
        cidrs = cidrs or list(running.pod_cidrs)
        nodes = running.nodes if nodes is None else nodes
    facts = running.host if running is not None else Host()
    if probed is not None:
        facts = runrules.host_of(probed)
    if arguments.this_host:
        facts = host.facts()
    if arguments.kernel:
        facts = replace(facts, kernel=arguments.kernel)
        if facts.version is None:
            raise KubedynoError(f"--kernel {arguments.kernel}: write a version such as 6.8")
    if arguments.nic_driver:
        facts = replace(facts, drivers=tuple(arguments.nic_driver))
    return Setup(values, facts, tuple(cidrs), nodes, kube_proxy=proxy)


def _kind(path: str) -> tuple[list[str], int, bool]:
    """Return a kind configuration's pod networks, number of nodes, and whether kube-proxy runs."""
    from kubedyno.kube import yaml

    tree = yaml.load(_read(path), path)
    if not isinstance(tree, dict) or tree.get("kind") != "Cluster":
        raise KubedynoError(f"{path}: no kind configuration (kind: Cluster)")
    networking = tree.get("networking") or {}
    if not isinstance(networking, dict) or not isinstance(tree.get("nodes") or [], list):
        raise KubedynoError(f"{path}: networking must be a mapping and nodes a list")
    subnet = str(networking.get("podSubnet") or "10.244.0.0/16")
    proxy = networking.get("kubeProxyMode") != "none"
    return [part.strip() for part in subnet.split(",")], len(tree.get("nodes") or [None]), proxy


def _lines(
    arguments: argparse.Namespace, setup: Any, found: list[Any], overlay: Any, missing: tuple[str, ...], embedded: str
) -> list[str]:
    from kubedyno.advisor import advice

    lines = [f"note: {text}" for text in setup.values.notes] if setup is not None else []
    hidden = 0
    for one in found:
        if one.severity == "note" and not arguments.all:
            hidden += 1
            continue
        lines += ["", f"{one.severity}: {one.title}  [{one.rule}]"]
        lines += [f"  seen: {text}" for text in one.evidence]
        if one.effect:
            lines.append(f"  effect: {one.effect} ({one.effect_source})")
        lines += [f"  requires: {text}" for text in one.requires]
        lines += [f"  conflicts with: {text}" for text in one.conflicts]
        if one.applying:
            lines.append(f"  when applied: {one.applying}")
        lines += [f"  do: {text}" for text in advice.apply_commands(one, setup, embedded)]
        lines += [f"  check: {text}" for text in one.check]
        lines += [f"  undo: {text}" for text in advice.undo_commands(one, setup, embedded)]
        lines.append(f"  source: {one.source}")
    if not found:
        lines.append("nothing to change")
    if hidden:
        lines += ["", f"{hidden} notes more with --all"]
    if overlay.values:
        lines += ["", "# values overlay: helm upgrade cilium cilium/cilium -n kube-system --reuse-values -f FILE"]
        lines += overlay.text().splitlines()
    lines += [f"# not in it: {name}: {why}" for name, why in overlay.left_out]
    if missing:
        lines += ["", *(f"not read: {text}" for text in missing)]
    return lines[1:] if lines and not lines[0] else lines
