"""`kubedyno top`: what nodes and pods use, with or without a metrics-server."""

import argparse
import sys
from typing import Any

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("what", metavar="node|pod", choices=("node", "nodes", "pod", "pods"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this one")
    parser.add_argument("-n", "--namespace", default="default", help="of pods (default: %(default)s)")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("--sort-by", choices=("name", "cpu", "memory"), default="name")
    parser.add_argument("--containers", action="store_true", help="each container of the pods")
    parser.add_argument(
        "--span", type=float, default=5.0, metavar="SECONDS",
        help="without a metrics-server: between two looks at the kubelets (default: %(default)s)",
    )  # fmt: skip
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import aligned
    from kubedyno.lab import target, top

    if arguments.span <= 0:
        raise KubedynoError("--span: has to be more than 0 seconds")
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    of_nodes = arguments.what.startswith("node")
    if of_nodes:
        seen = aio.run(top.nodes(choice, arguments.span))
    else:
        seen = aio.run(top.pods(choice, "" if arguments.all_namespaces else arguments.namespace, arguments.span))
    for line in seen.missing:
        print(f"kubedyno: {line}", file=sys.stderr)
    uses = seen.uses if of_nodes or arguments.containers else _by_pod(seen.uses)
    if arguments.name:
        uses = [use for use in uses if use.name == arguments.name]
        if not uses:
            where = "" if of_nodes or arguments.all_namespaces else f" in namespace {arguments.namespace}"
            raise KubedynoError(f"{arguments.what} {arguments.name}{where}: there is none, or nobody says what it uses")
    if not uses:
        where = "" if of_nodes or arguments.all_namespaces else f" in {arguments.namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
        return 0
    keys: dict[str, Any] = {
        "name": lambda use: (use.namespace, use.name, use.container),
        "cpu": lambda use: -use.cores,
        "memory": lambda use: -use.memory_bytes,
    }
    rows = [_row(use, arguments) for use in sorted(uses, key=keys[arguments.sort_by])]
    print("\n".join(aligned([_head(arguments), *rows], "   ")))
    return 0


def _by_pod(uses: list[Any]) -> list[Any]:
    from kubedyno.lab.top import Use

    found: dict[tuple[str, str], Use] = {}
    for use in uses:
        key = (use.namespace, use.name)
        old = found.get(key, Use(*key, "", 0.0, 0.0))
        found[key] = Use(*key, "", old.cores + use.cores, old.memory_bytes + use.memory_bytes)
    return list(found.values())


def _head(arguments: argparse.Namespace) -> list[str]:
    if arguments.what.startswith("node"):
        return ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    head = ["POD", "NAME"] if arguments.containers else ["NAME"]
    return [*(["NAMESPACE"] if arguments.all_namespaces else []), *head, "CPU(cores)", "MEMORY(bytes)"]


def _row(use: Any, arguments: argparse.Namespace) -> list[str]:
    cpu, memory = f"{round(use.cores * 1000)}m", f"{int(use.memory_bytes) >> 20}Mi"
    if arguments.what.startswith("node"):
        shares = [
            f"{int(used * 100 / of)}%" if of else "<unknown>"
            for used, of in ((use.cores, use.cores_of), (use.memory_bytes, use.memory_bytes_of))
        ]
        return [use.name, cpu, shares[0], memory, shares[1]]
    name = [use.name, use.container] if arguments.containers else [use.name]
    return [*([use.namespace] if arguments.all_namespaces else []), *name, cpu, memory]
