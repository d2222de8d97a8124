"""`kubedyno probe`: what this host's, or a cluster's nodes', kernel and devices can do, found by trying."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--cluster", action="store_true", help="every Linux node, through a short-lived DaemonSet")
    parser.add_argument("--image", metavar="IMAGE", help="with --cluster: one with Python 3.11 or newer")
    parser.add_argument(
        "--namespace", "-n", metavar="NS", help="with --cluster: one that is there (default: makes one)"
    )
    parser.add_argument(
        "--unprivileged",
        action="store_true",
        help="with --cluster: pods without capabilities; what takes trying is unknown",
    )
    parser.add_argument("--timeout", default="2m", metavar="TIME", help="with --cluster: for its pods (%(default)s)")
    parser.add_argument("--manifest", action="store_true", help="print what --cluster would create, and do nothing")
    parser.add_argument("--yes", action="store_true", help="with --cluster: do not ask")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Probe and print; exit code 0 whatever is missing, 1 when no node answers."""
    from kubedyno.advisor import hostprobe
    from kubedyno.kube import forms

    for flag in ("unprivileged", "namespace", "image"):
        if getattr(arguments, flag) and not (arguments.cluster or arguments.manifest):
            raise KubedynoError(f"--{flag}: is of the pods that --cluster makes")
    if arguments.manifest:
        return _manifest(arguments)
    if arguments.cluster:
        return _cluster(arguments)
    found = hostprobe.facts()
    if arguments.output != "table":
        print(forms.text_of({"facts": [asdict(fact) for fact in found]}, arguments.output), end="")
        return 0
    print("\n".join(_lines(found)))
    return 0


def _lines(found: Iterable[Any]) -> list[str]:
    facts = list(found)
    if not facts:
        return []
    names = max(len(fact.name) for fact in facts)
    values = max((len(fact.value) for fact in facts if len(fact.value) <= 40), default=0)
    lines = []
    group = ""
    for fact in facts:
        if fact.group != group:
            group = fact.group
            lines.append(f"{group}:")
        why = f": {fact.why}" if fact.why else ""
        lines.append(f"  {fact.name:<{names}}  {fact.value:<{values}}  {fact.sure}: {fact.how}{why}")
    return lines


def _manifest(arguments: argparse.Namespace) -> int:
    from kubedyno.advisor import nodeprobe
    from kubedyno.kube import forms

    space = arguments.namespace or nodeprobe.APP
    image = arguments.image or nodeprobe.IMAGE
    made = nodeprobe.manifests(
        space, image, make_namespace=arguments.namespace is None, capabilities=not arguments.unprivileged
    )
    form = forms.KYAML if arguments.output == forms.KYAML else forms.YAML
    between = "" if form == forms.KYAML else "---\n"
    print(between.join(forms.text_of(thing, form) for _, thing in made), end="")
    return 0


def _cluster(arguments: argparse.Namespace) -> int:
    from kubedyno.advisor import nodeprobe as advisor
    from kubedyno.base import aio
    from kubedyno.kube import forms
    from kubedyno.lab import flags, nodeprobe, target

    timeout_s = flags.seconds("--timeout", arguments.timeout)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    nodes = aio.run(
        nodeprobe.probe(
            choice,
            image=arguments.image or advisor.IMAGE,
            namespace=arguments.namespace,
            timeout_s=timeout_s,
            yes=arguments.yes,
            capabilities=not arguments.unprivileged,
        )
    )
    answered = [node for node in nodes if not node.error]
    if arguments.output != "table":
        entries = [{"name": one.node, "error": one.error, "facts": list(map(asdict, one.facts))} for one in nodes]
        print(forms.text_of({"nodes": entries}, arguments.output), end="")
        return 0 if answered else 1
    shared, others = advisor.common(nodes)
    if answered:
        print(f"on {'the node' if len(answered) == 1 else f'all {len(answered)} nodes'} that answered:")
        print("\n".join(_lines(shared)))
    for name, facts in others.items():
        if facts:
            print(f"\n{name} only:")
            print("\n".join(_lines(facts)))
    for node in nodes:
        if node.error:
            print(f"{node.node}: {node.error}")
    return 0 if answered else 1
