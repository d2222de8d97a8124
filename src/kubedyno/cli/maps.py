"""`kubedyno maps`: Cilium's BPF map sizes from memory, ratio and CPUs; the ratio for so many connections; comparisons."""

import argparse
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--memory", metavar="BYTES", help="of the node, such as 16Gi or 11.67Gi (default: this host's)")
    parser.add_argument("--ratio", type=float, metavar="R", help="bpf.mapDynamicSizeRatio (0.0025); 0: no scaling")
    parser.add_argument("--cpus", type=int, metavar="N", help="possible CPUs (default: this host's)")
    parser.add_argument("--distributed-lru", action="store_true", help="bpf.distributedLRU.enabled")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FLAG=N", help="a size given to the agent by its flag"
    )
    parser.add_argument(
        "--connections", type=int, metavar="N", help="print the least ratio for so many TCP connections"
    )
    parser.add_argument("--status", metavar="FILE", help="compare with the output of `cilium-dbg status --verbose`")
    parser.add_argument("--cluster", action="store_true", help="the nodes and services of a cluster")
    parser.add_argument("--metrics", metavar="FILE", help="an agent's /metrics page: grade cilium_bpf_map_pressure")
    parser.add_argument("--table", action="store_true", help="the documentation's table, and where it disagrees")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of entries by memory and ratio (SVG)")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print sizes; exit code 2 when a status differs from the formula."""
    from kubedyno.advisor import host, maps, mapsfacts

    _check(arguments)
    ratio = maps.DEFAULT_RATIO if arguments.ratio is None else arguments.ratio
    given = dict(_flag(word) for word in arguments.set)
    document: dict[str, Any] = {"source": maps.SOURCE}
    lines: list[str] = []
    code = 0
    if arguments.cluster:
        _cluster(arguments, ratio, given, document, lines)
    elif arguments.table:
        _documented(document, lines)
    else:
        memory_b = _bytes(arguments.memory) if arguments.memory else host.memory_b()
        cpus = arguments.cpus if arguments.cpus is not None else host.possible_cpus()
        if arguments.connections is not None:
            ratio = maps.ratio_for(arguments.connections, memory_b, cpus, distributed_lru=arguments.distributed_lru)
            lines.append(f"{arguments.connections} TCP connections: bpf.mapDynamicSizeRatio={ratio:g} is the least")
            document["ratioFor"] = {"connections": arguments.connections, "ratio": ratio}
        status = None
        if arguments.status:
            status = maps.parse_status(_read(arguments.status), arguments.status)
            # The ratio that the status itself names, unless another one is asked for.
            if arguments.ratio is None:
                ratio = status.ratio or 0.0
        sizing = maps.sizing(memory_b, ratio, cpus, distributed_lru=arguments.distributed_lru, given=given)
        document |= _sizing_document(sizing)
        lines += _sizing_lines(sizing, where="" if arguments.memory else "this host: ")
        if status is not None:
            code = _compare(status, sizing, document, lines)
    if arguments.metrics:
        _pressures(mapsfacts.pressures_of([(arguments.metrics, _read(arguments.metrics))]), document, lines)
        if not document["pressure"]:
            raise KubedynoError(f"{arguments.metrics}: has no {mapsfacts.PRESSURE}; is it an agent's page?")
    if arguments.plot:
        _plot(arguments, ratio, lines)
    _print(arguments.output, document, lines)
    return code


def _check(arguments: argparse.Namespace) -> None:
    """Refuse flags that say two things, or nothing to what the others ask for."""
    if arguments.connections is not None and (arguments.ratio is not None or arguments.status):
        raise KubedynoError("--connections: asks for a ratio; leave --ratio and --status out")
    if arguments.cluster and arguments.table:
        raise KubedynoError("--cluster and --table: one of them")
    for name in ("memory", "cpus", "connections", "status"):
        if getattr(arguments, name) is not None and (arguments.cluster or arguments.table) and not arguments.plot:
            other = "--cluster" if arguments.cluster else "--table"
            raise KubedynoError(f"--{name}: {other} has its own; leave one of them out")


def _flag(word: str) -> tuple[str, int]:
    name, separator, value = word.partition("=")
    if not separator or not value.isdigit():
        raise KubedynoError(f"--set {word}: write FLAG=ENTRIES, such as bpf-lb-map-max=131072")
    return name.removeprefix("--"), int(value)


def _bytes(text: str) -> int:
    from kubedyno.kube import quantity

    try:
        value = quantity.value_of(text)
    except ValueError as error:
        raise KubedynoError(f"--memory {text}: {error}") from error
    if value <= 0:
        raise KubedynoError(f"--memory {text}: must be more than 0 bytes")
    return value


def _read(path: str) -> str:
    import sys

    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not a text"
        raise KubedynoError(f"{path}: {said}") from error


def _sizing_document(sizing: Any) -> dict[str, Any]:
    return {
        "memoryBytes": sizing.memory_b,
        "ratio": sizing.ratio,
        "cpus": sizing.cpus,
        "distributedLRU": sizing.distributed_lru,
        "availableBytes": sizing.available_b,
        "kubeProxyConntrackEntries": sizing.kube_proxy,
        "warnings": list(sizing.warnings),
        "maps": [
            {
                "name": row.name,
                "maps": [f"cilium_{name}" for name in row.maps],
                "entries": row.entries,
                "elementBytes": row.element_b,
                "payloadBytes": row.payload_b(sizing.cpus),
                "how": row.how,
            }
            for row in sizing.rows
        ],
    }


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:.1f}"


def _sizing_lines(sizing: Any, where: str) -> list[str]:
    from kubedyno.advisor import maps
    from kubedyno.report.text import table

    lru = ", distributed LRU" if sizing.distributed_lru else ""
    head = (
        f"{where}{sizing.memory_b} bytes ({sizing.memory_b / 2**30:.2f} GiB), {sizing.cpus} possible CPUs, ratio"
        f" {sizing.ratio:g}{lru}: {sizing.available_b} bytes for the scaled maps"
    )
    notes = (
        f"kube-proxy would set its connection tracking table to {sizing.kube_proxy} entries"
        f" (max({maps.KUBE_PROXY_MIN}, {maps.KUBE_PROXY_PER_CORE} a CPU))\n"
        "MiB: entries x (key + value) of all the maps of a row; the kernel's overhead comes on top; the endpoint policy"
        " map is one an endpoint\n"
        f"source: {maps.SOURCE}; key and value sizes of fixed maps: bpftool on an agent"
    )
    lines = [
        head,
        "",
        *table(
            ("MAP", "ENTRIES", "BYTES/ENTRY", "MIB", "SET BY", "IN THE KERNEL"),
            [
                (
                    row.name,
                    str(row.entries),
                    "-" if row.element_b is None else str(row.element_b),
                    _mib(row.payload_b(sizing.cpus)),
                    row.how,
                    " ".join(f"cilium_{name}" for name in row.maps),
                )
                for row in sizing.rows
            ],
        ),
        "",
        *notes.splitlines(),
    ]
    return lines + [f"warning: {text}" for text in sizing.warnings]


def _compare(status: Any, sizing: Any, document: dict[str, Any], lines: list[str]) -> int:
    from kubedyno.advisor import maps

    differences, absent = maps.compare(status, sizing)
    document["differences"] = [{"name": one.name, "shown": one.shown, "computed": one.computed} for one in differences]
    document["absent"] = absent
    lines.append("")
    lines += [f"differs: {one.name}: the status has {one.shown}, the formula {one.computed}" for one in differences]
    if absent:
        lines.append(f"not in the status ({len(absent)}): {', '.join(absent)}")
    if not differences:
        lines.append(f"the status agrees in all {len(status.sizes)} rows that it has")
        return 0
    memory = maps.memory_of_status(status, sizing.cpus if sizing.distributed_lru else 1)
    if memory is not None:
        lines.append(
            f"the status' TCP table fits a node with {memory[0] / 2**30:.3f} to {memory[1] / 2**30:.3f} GiB of memory"
        )
    return 2


def _documented(document: dict[str, Any], lines: list[str]) -> None:
    from kubedyno.advisor import maps
    from kubedyno.report.text import table

    rows = []
    entries = []
    for cpus, gib, kube_proxy, documented in maps.DOCUMENTED:
        computed = maps.sizing(int(gib * 2**30), cpus=cpus).dynamic.ct_tcp
        differs = "" if computed == documented else f"{(documented / computed - 1) * 100:+.1f} %"
        rows.append((str(cpus), f"{gib:g}", str(kube_proxy), str(documented), str(computed), differs or "-"))
        entries.append(
            {"cpus": cpus, "memoryGiB": gib, "kubeProxy": kube_proxy, "documented": documented, "formula": computed}
        )
    document["documented"] = entries
    lines += table(("VCPUS", "GIB", "KUBE-PROXY", "DOCUMENTED", "FORMULA", "DOCUMENTED IS OFF BY"), rows)
    lines += ["", "TCP entries at ratio 0.0025; the documentation's table was made with older element sizes"]


def _cluster(
    arguments: argparse.Namespace, ratio: float, given: dict[str, int], document: dict[str, Any], lines: list[str]
) -> None:
    from kubedyno.advisor import maps, mapsfacts
    from kubedyno.base import aio
    from kubedyno.client.api import Client
    from kubedyno.lab import target
    from kubedyno.report.text import table

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)

    async def read() -> mapsfacts.ClusterSizes:
        async with Client(choice.target) as client:
            await target.greet(client)
            return await mapsfacts.read(client)

    seen = aio.run(read())
    # What the agents were told, unless another one is asked for.
    if arguments.ratio is None and seen.ratio is not None:
        ratio = seen.ratio
    distributed = arguments.distributed_lru or seen.distributed_lru
    rows = []
    nodes = []
    for node in seen.nodes:
        if not node.memory_b or not node.cpus:
            lines.append(f"{node.name}: no memory or CPU capacity stated, left out")
            continue
        sizing = maps.sizing(node.memory_b, ratio, node.cpus, distributed_lru=distributed, given=given)
        found = sizing.dynamic
        figures = (found.ct_tcp, found.ct_any, found.nat, found.neigh, found.sock_rev, sizing.kube_proxy)
        rows.append((node.name, f"{node.memory_b / 2**30:.2f}", str(node.cpus), *map(str, figures)))
        nodes.append({"name": node.name, **_sizing_document(sizing)})
    document["nodes"] = nodes
    lines += table(("NODE", "GIB", "CPUS", "TCP", "NON-TCP", "NAT", "NEIGHBOR", "SOCK REV", "KUBE-PROXY"), rows)
    if seen.demand is not None:
        size = given.get("bpf-lb-map-max", maps.LB_DEFAULT)
        lines += ["", f"load balancing, {seen.services} services against bpf.lbMapMax={size}:"]
        needs = (seen.demand.services, seen.demand.backends, seen.demand.reverse_nat)
        pressures = seen.demand.pressures(size)
        document["loadBalancing"] = {"entries": size, "needed": dict(zip(pressures, needs, strict=True))}
        lines += [
            f"  {name}: {needed} entries needed, pressure {pressure:.3f}: {maps.grade(pressure)}"
            for (name, pressure), needed in zip(pressures.items(), needs, strict=True)
        ]
    if seen.pressures:
        _pressures(seen.pressures, document, lines)
    document["missing"] = list(seen.missing)
    lines += [f"not read: {text}" for text in seen.missing]


def _pressures(pressures: Any, document: dict[str, Any], lines: list[str]) -> None:
    from kubedyno.advisor import maps
    from kubedyno.report.text import table

    document["pressure"] = [
        {"map": name, "pressure": value, "where": where, "grade": maps.grade(value)} for name, value, where in pressures
    ]
    rows = [(name, f"{value:.3f}", maps.grade(value), where) for name, value, where in pressures]
    lines += ["", "pressure (entries needed against size), by the agents:"]
    lines += table(("MAP", "PRESSURE", "GRADE", "HIGHEST ON"), rows)


def _plot(arguments: argparse.Namespace, ratio: float, lines: list[str]) -> None:
    from kubedyno.advisor import host, mapsplot

    memory_b = _bytes(arguments.memory) if arguments.memory else host.memory_b()
    ratios = sorted({*mapsplot.RATIOS, ratio} - {0.0})
    try:
        Path(arguments.plot).write_text(mapsplot.plot(ratios, memory_b / 2**30))
    except OSError as error:
        raise KubedynoError(f"{arguments.plot}: {error.strerror}") from error
    lines.append(f"picture: {arguments.plot}")


def _print(output: str, document: dict[str, Any], lines: list[str]) -> None:
    if output == "table":
        print("\n".join(lines))
        return
    from kubedyno.kube import forms

    print(forms.text_of(document, output), end="")
