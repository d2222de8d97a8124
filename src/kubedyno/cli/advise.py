"""`kubedyno advise`: what to tune, from Cilium's values or command lines, what is known of the hosts, and of a cluster."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError


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
    parser.add_argument("--overlay", metavar="FILE", help="write the values overlay to a file")
    parser.add_argument("--all", action="store_true", help="notes too")
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml", "kyaml"), default="text")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print findings and an overlay; exit code 2 when an error was found."""
    from kubedyno.advisor import advice
    from kubedyno.cli.maps import print_document

    setup = _setup(arguments)
    found = advice.findings(setup)
    overlay = advice.overlay(setup, found)
    if arguments.overlay:
        try:
            Path(arguments.overlay).write_text(overlay.text())
        except OSError as error:
            raise KubedynoError(f"{arguments.overlay}: {error.strerror}") from error
    if arguments.output == "text":
        print("\n".join(_lines(arguments, setup, found, overlay)))
    else:
        entries = []
        for one in found:
            entry = asdict(one)
            entry["values"] = dict(one.values)
            entry["command"] = advice.helm_command(one, setup.values.version)
            entry["undo_command"] = advice.undo_command(one, setup)
            entries.append(_plain(entry))
        document = {
            "findings": entries,
            "overlay": overlay.values,
            "undo": overlay.before,
            "leftOut": dict(overlay.left_out),
            "notes": list(setup.values.notes),
        }
        print_document(arguments.output, document)
    return 2 if any(one.severity == "error" for one in found) else 0


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


def _setup(arguments: argparse.Namespace) -> Any:
    import ipaddress

    from kubedyno.advisor import ciliumvalues, host
    from kubedyno.advisor.tuning import Host, Setup

    if not arguments.cilium_values and not arguments.cilium_command:
        raise KubedynoError("advise: nothing to judge: give --cilium-values FILE or --cilium-command FILE")
    values = ciliumvalues.Values({})
    if arguments.cilium_command:
        text = _read(arguments.cilium_command)
        values = ciliumvalues.of_command(text, arguments.cilium_command, Path(arguments.cilium_command).parent)
    for path in arguments.cilium_values:
        over = ciliumvalues.of_text(_read(path), path)
        values = ciliumvalues.Values(
            ciliumvalues.merge(values.tree, over.tree), values.version, (*values.notes, *over.notes)
        )
    cidrs = list(arguments.pod_cidr)
    nodes = arguments.nodes
    if arguments.kind_config:
        found, count = _kind(arguments.kind_config)
        cidrs += found
        nodes = count if nodes is None else nodes
    for cidr in cidrs:
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError as error:
            raise KubedynoError(f"--pod-cidr {cidr}: {error}") from error
    facts = host.facts() if arguments.this_host else Host()
    if arguments.kernel:
        facts = replace(facts, kernel=arguments.kernel)
        if facts.version is None:
            raise KubedynoError(f"--kernel {arguments.kernel}: write a version such as 6.8")
    if arguments.nic_driver:
        facts = replace(facts, drivers=tuple(arguments.nic_driver))
    return Setup(values, facts, tuple(cidrs), nodes)


def _kind(path: str) -> tuple[list[str], int]:
    from kubedyno.kube import yaml

    tree = yaml.load(_read(path), path)
    if not isinstance(tree, dict) or tree.get("kind") != "Cluster":
        raise KubedynoError(f"{path}: no kind configuration (kind: Cluster)")
    subnet = str((tree.get("networking") or {}).get("podSubnet") or "10.244.0.0/16")
    return [part.strip() for part in subnet.split(",")], len(tree.get("nodes") or [None])


def _lines(arguments: argparse.Namespace, setup: Any, found: list[Any], overlay: Any) -> list[str]:
    from kubedyno.advisor import advice

    lines = [f"note: {text}" for text in setup.values.notes]
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
        lines += [f"  do: {text}" for text in (advice.helm_command(one, setup.values.version), *one.apply) if text]
        lines += [f"  check: {text}" for text in one.check]
        lines += [f"  undo: {text}" for text in (advice.undo_command(one, setup), *one.undo) if text]
        lines.append(f"  source: {one.source}")
    if not found:
        lines.append("nothing to change")
    if hidden:
        lines += ["", f"{hidden} notes more with --all"]
    if overlay.values:
        lines += ["", "# values overlay: helm upgrade cilium cilium/cilium -n kube-system --reuse-values -f FILE"]
        lines += overlay.text().splitlines()
    lines += [f"# not in it: {name}: {why}" for name, why in overlay.left_out]
    return lines[1:] if lines and not lines[0] else lines
