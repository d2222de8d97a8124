"""`kubedyno net lab`: every datapath measured on this very kernel, with no cluster.

In: a `Request`. Out: tables, documents and a report. All topologies stand side by side; each round measures every cell
(datapath, test, place, family) once, forwards and backwards by turns, so that what the machine does meanwhile hits all.
"""

import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as FilePath
from statistics import median
from typing import Any

import msgspec

from kubedyno import __version__
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.files import write_whole
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.datapath import compare, findings, measure
from kubedyno.datapath.findings import Seen
from kubedyno.datapath.measure import Tools
from kubedyno.datapath.tests import TESTS, Kind, Test
from kubedyno.datapath.topology import DEFAULT_GSO_BYTES, Hook, Path, Place, Topology, Variant
from kubedyno.documents.local import LocalIndexer, directory_of
from kubedyno.documents.net import FILE_NAME, ROW_FILE_NAME, Missing, NetLabRun, Ratio, Round, Row
from kubedyno.kernel import netns, probe
from kubedyno.kernel.probe import Features
from kubedyno.lab import runs
from kubedyno.report import net as report

# A quick run ends within 50 s: no round is begun that would not, going by their mean.
QUICK_LIMIT_S = 47.0
# What one cell takes besides its test: two processes, counters.
_OVERHEAD_S = 0.08
# Where it matters most, and where it fails: measured unless other datapaths are named.
BIG_TCP_PATHS = (Path.EBPF, Path.ROUTE)
# Above this share of the machine at work before we begin, figures are called noisy.
_BUSY = 0.25
# The host's own latency, slowest round to fastest; above it the machine was not the same all along.
_UNSTEADY = 1.25
_MAX_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes:
        paths: Datapaths; `host` is always measured too.
        tests: What to run.
        rounds: How often.
        places: Same node, other node.
        families: 4, 6.
        mtus: Of the wire, bytes.
        big_tcp: Largest packets in bytes, beside 65536; empty for no BIG TCP.
        seconds: Of every test; None for 1 s of throughput and 0.3 s of latency.
        study_times: Each test as long as the study ran it.
        quick: A short run within 50 s.
        own: Our own generator even where iperf3 is installed.
        pinned: Both ends on one processor.
        congestion_control: Of every TCP socket.
        hook: How eBPF is attached; None for tcx where the kernel has it.
        json: Print the document, not tables.
        directory: Where documents and report go.
    """

    paths: tuple[Path, ...]
    tests: tuple[Test, ...]
    rounds: int = 5
    places: tuple[Place, ...] = tuple(Place)
    families: tuple[int, ...] = (4,)
    mtus: tuple[int, ...] = (1500,)
    big_tcp: tuple[int, ...] = (196_608, 524_280)
    big_tcp_paths: tuple[Path, ...] = BIG_TCP_PATHS
    seconds: float | None = None
    study_times: bool = False
    quick: bool = False
    own: bool = False
    pinned: bool = True
    congestion_control: str = "cubic"
    hook: Hook | None = None
    json: bool = False
    directory: FilePath = FilePath()


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that each round measures once."""

    variant: Variant
    test: Test
    place: Place
    family: int


class Lab:
    """One run. `measure` does it all; what it found stays readable if it is interrupted."""

    def __init__(self, request: Request, features: Features, tools: Tools, clock: Clock) -> None:
        self.request = request
        self.features = features
        self.tools = tools
        self.missing: list[Missing] = []
        self.warnings: list[str] = []
        self.rounds: dict[Cell, list[Round]] = {}
        self.gso_sizes: dict[str, dict[str, dict[str, int]]] = {}
        self.interrupted = False
        self._clock = clock

    # --- planning --------------------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """Return what to measure, and note what cannot be."""
        request, features = self.request, self.features
        lacking = findings.missing_of(features, [Path.HOST, *request.paths])
        self.missing += lacking.values()
        paths = [path for path in dict.fromkeys([Path.HOST, *request.paths]) if path not in lacking]
        families = [family for family in request.families if family == 4 or features["ipv6"].works]
        if len(families) < len(request.families):
            self.missing.append(Missing("IPv6", [features["ipv6"].why]))
        older = features["clsact"].works and not features["tcx"].works
        hook = request.hook or (Hook.CLSACT if older else Hook.TCX)
        cells = [
            Cell(Variant(path, mtu, DEFAULT_GSO_BYTES, hook), test, place, family)
            for test in request.tests
            for place in request.places
            for family in families
            for mtu in request.mtus
            for path in paths
        ]
        bbr = [
            Cell(Variant(Path.HOST, 1500, DEFAULT_GSO_BYTES, hook), TESTS["tcp-bbr"], Place.OTHER, 4)
            for test in request.tests
            if test.name == "tcp" and features["bbr"].works and request.congestion_control == "cubic"
        ]
        return list(dict.fromkeys([*cells, *bbr, *self._big_tcp_cells(paths, hook)]))

    def _big_tcp_cells(self, paths: Sequence[Path], hook: Hook) -> Iterator[Cell]:
        test = next((one for one in self.request.tests if one.kind is Kind.STREAM and one.forward), None)
        if test is None or not self.request.big_tcp:
            return
        for family, version in ((6, "5.19"), (4, "6.3")):
            feature = self.features[f"big_tcp_ipv{family}"]
            if not feature.works:
                said = f"Cannot enable --enable-ipv{family}-big-tcp, needs kernel {version} or newer"
                self.missing.append(
                    Missing(f"BIG TCP for IPv{family}", [feature.why, f'Cilium\'s own words: "{said}"'])
                )
                continue
            if family == 6 and not self.features["ipv6"].works:
                continue
            if self.request.quick and family not in {6, *self.request.families[1:]}:
                continue
            for path in self.request.big_tcp_paths:
                if path in paths:
                    for size in (DEFAULT_GSO_BYTES, *self.request.big_tcp):
                        yield Cell(Variant(path, 1500, size, hook), test, Place.OTHER, family)

    def seconds(self, test: Test) -> float:
        """Return how long a test runs."""
        if self.request.study_times and not test.is_latency:
            return test.seconds
        if self.request.seconds is not None:
            return self.request.seconds
        if self.request.quick:
            return 0.1 if test.is_latency else 0.15
        return 0.3 if test.is_latency else 1.0

    # --- measuring -------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Build all topologies, measure, take them down. Ctrl-C ends it with the rounds so far."""
        self._warn_of_noise()
        cells = self.cells()
        started_s = self._clock.monotonic()
        with ExitStack() as stack:
            topologies = self._built(cells, stack)
            cells = [cell for cell in cells if cell.variant in topologies]
            self.rounds = {cell: [] for cell in cells}
            expected_s = sum(self.seconds(cell.test) + _OVERHEAD_S for cell in cells)
            _say(f"{len(cells)} measurements a round, {self.request.rounds} rounds, about {expected_s:.0f} s each")
            mean_s = expected_s
            try:
                for number in range(self.request.rounds):
                    begun_s = self._clock.monotonic()
                    if self.request.quick and begun_s - started_s + mean_s > QUICK_LIMIT_S and number > 1:
                        _say(f"{number} of {self.request.rounds} rounds: a quick run ends here")
                        break
                    for cell in cells if number % 2 == 0 else reversed(cells):
                        self._measure_cell(topologies[cell.variant], cell, number)
                    took_s = self._clock.monotonic() - begun_s
                    mean_s = took_s if not number else (mean_s * number + took_s) / (number + 1)
                    _say(f"round {number + 1} of {self.request.rounds}: {took_s:.1f} s")
            except KeyboardInterrupt:
                self.interrupted = True
                self.warnings.append("interrupted: the rounds so far are reported")
        for cell in [cell for cell, rounds in self.rounds.items() if not rounds]:
            del self.rounds[cell]

    def _measure_cell(self, topology: Topology, cell: Cell, number: int) -> None:
        done = measure.run(topology, cell.test, cell.place, cell.family, self.seconds(cell.test), self.tools, number)
        self.rounds[cell].append(done)

    def _built(self, cells: Sequence[Cell], stack: ExitStack) -> dict[Variant, Topology]:
        families = (4, 6) if self.features["ipv6"].works else (4,)
        topologies: dict[Variant, Topology] = {}
        for variant in dict.fromkeys(cell.variant for cell in cells):
            try:
                topologies[variant] = stack.enter_context(Topology(variant, families=families))
            except OSError as error:
                why = [error.strerror or str(error)]
                if log := getattr(error, "log", ""):
                    why.append(f"verifier: {log.strip().splitlines()[-1]}")
                self.missing.append(Missing(f"datapath {variant.name}", why))
            except KubedynoError as error:
                self.missing.append(Missing(f"datapath {variant.name}", [str(error)]))
        with_big = {variant.path for variant in topologies if variant.gso > DEFAULT_GSO_BYTES}
        for variant, topology in topologies.items():
            if variant.path in with_big and variant.mtu == 1500:
                self.gso_sizes[variant.name] = topology.gso_sizes()
        return topologies

    def _warn_of_noise(self) -> None:
        load, processors = os.getloadavg()[0], os.cpu_count() or 1
        if load > _BUSY * processors:
            self.warnings.append(
                f"the machine was at work before the run (load {load:.1f} on {processors} processors): read ratios, no absolutes"
            )
        if self.tools.processor is None:
            self.warnings.append(
                "not pinned: over several processors a round trip is mostly the time to wake the other one"
            )

    # --- telling ---------------------------------------------------------------------------------------------

    def rows(self, uuid: str, stamp: str) -> list[Row]:
        """Return the rows with their ratios."""
        rows = {cell: self._row(cell, rounds, uuid, stamp) for cell, rounds in self.rounds.items()}
        return [msgspec.structs.replace(row, ratios=_ratios(cell, row, rows)) for cell, row in rows.items()]

    def _row(self, cell: Cell, rounds: list[Round], uuid: str, stamp: str) -> Row:
        names = dict.fromkeys(name for one in rounds for name in one.figures)
        medians = {name: median(one.figures[name] for one in rounds if name in one.figures) for name in names}
        variant = cell.variant
        command = measure.command_of(cell.test, "SERVER", self.seconds(cell.test), self.tools, variant.mtu)
        return Row(
            uuid=uuid,
            timestamp=stamp,
            datapath=variant.path,
            variant=variant.name,
            place=cell.place,
            family=cell.family,
            mtu=variant.mtu,
            gso_max_size=variant.gso,
            test=cell.test.name,
            tool=self.tools.tool_of(cell.test),
            command=" ".join(command),
            rounds=rounds,
            median=medians,
            ratios={},
        )

    def warn_of_unsteadiness(self, rows: Sequence[Row]) -> None:
        """Add a warning when the host's own latency changed from round to round."""
        for row in rows:
            values = list(findings.by_round(row, "p50_us").values())
            if row.datapath == Path.HOST and len(values) > 1 and max(values) > _UNSTEADY * min(values):
                self.warnings.append(
                    f"the host's own {row.test} ({row.place}) took {min(values):.1f} to {max(values):.1f} us in the rounds: "
                    "the machine was not steady"
                )


def _ratios(cell: Cell, row: Row, rows: dict[Cell, Row]) -> dict[str, list[Ratio]]:
    others: dict[str, Row] = {}
    for other, theirs in rows.items():
        alike = (other.test, other.place, other.family, other.variant.mtu) == (
            cell.test,
            cell.place,
            cell.family,
            cell.variant.mtu,
        )
        if not alike or theirs is row or other.variant.gso != DEFAULT_GSO_BYTES:
            continue
        if other.variant.path is Path.HOST and cell.variant.path is not Path.HOST:
            others["host"] = theirs
        elif other.variant.path is cell.variant.path:
            others["64 KiB"] = theirs
    found: dict[str, list[Ratio]] = {}
    for figure in ("p50_us", "p90_us", "p99_us", "per_s", "bps", "cpu_s_per_gb"):
        for name, theirs in others.items():
            ratio = compare.ratio_of(name, findings.by_round(row, figure), findings.by_round(theirs, figure))
            if ratio is not None:
                found.setdefault(figure, []).append(ratio)
    return found


def run(request: Request, clock: Clock = SYSTEM_CLOCK) -> int:
    """Measure, print, write; returns the exit code.

    Raises:
        KubedynoError: No namespace can be made here, or a file cannot be written.
    """
    if not 1 <= request.rounds <= _MAX_ROUNDS:
        raise KubedynoError(f"--rounds: 1 to {_MAX_ROUNDS}, not {request.rounds}")
    uuid = Random().uid()
    started = rfc3339(clock.now())
    # What cannot be written is found out before minutes are spent.
    LocalIndexer(directory_of(request.directory, uuid))
    features = enter()
    tools = measure.found_tools(
        own=request.own or request.quick, pinned=request.pinned, congestion_control=request.congestion_control
    )
    default = _default_congestion_control()
    lab = Lab(request, features, tools, clock)
    # As Ctrl-C: the rounds so far are reported, and nothing is left running.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    target = f"this machine, Linux {features.kernel}"
    with runs.entered(runs.beginning(uuid, "net lab", target=target, config="net lab")) as entry:
        try:
            lab.measure()
        finally:
            signal.signal(signal.SIGTERM, before)
        rows = lab.rows(uuid, started)
        lab.warn_of_unsteadiness(rows)
        document = NetLabRun(
            uuid=uuid,
            kubedyno=__version__,
            kernel=features.kernel,
            machine=_machine(tools),
            started=started,
            ended=rfc3339(clock.now()),
            rows=rows,
            gso_sizes=lab.gso_sizes,
            missing=lab.missing,
            findings=findings.findings_of(Seen(rows, features, default)),
            warnings=lab.warnings,
        )
        page = write(request.directory, document)
        measured = {row.datapath for row in rows if row.median}
        asked = set(request.paths) - {Path.HOST}
        code = 0 if measured and (not asked or measured & asked) else 1
        if lab.interrupted:
            code = EXIT_INTERRUPTED
        entry.records.append(runs.record_of_net_lab(document, directory_of(request.directory, uuid), exit_code=code))
    if request.json:
        print(msgspec.json.encode(document).decode())  # noqa: T201 - the output
    else:
        print("\n".join(report.lines(document)))  # noqa: T201 - the output
        print(f"report: {page}")  # noqa: T201 - the output
    return code


def enter() -> Features:
    """Make sure that namespaces can be made, with root or in a user namespace, and say what this kernel can do.

    Raises:
        KubedynoError: Neither works here.
    """
    try:
        return probe.probe()
    except OSError as error:
        refused = error
    try:
        netns.become_root_of_own_user_namespace()
        features = probe.probe()
    except OSError as error:
        raise KubedynoError(
            f"net lab: no network namespace can be made here ({refused.strerror}), nor a user namespace "
            f"({error.strerror}); run it as root (or: sysctl -w user.max_user_namespaces=10000, and let unprivileged "
            "user namespaces be)"
        ) from error
    _say("not root: measuring in a user namespace; eBPF programs cannot be loaded there")
    return Features(features.kernel, root=False, found=features.found)


def write(directory: FilePath, document: NetLabRun) -> FilePath:
    """Write documents and report; returns the report's path.

    Raises:
        KubedynoError: A file cannot be written.
    """
    indexer = LocalIndexer(directory_of(directory, document.uuid))
    indexer.index(FILE_NAME, [msgspec.to_builtins(document)])
    if document.rows:
        indexer.index(ROW_FILE_NAME, [msgspec.to_builtins(row) for row in document.rows])
    path = directory / f"kubedyno-report-{document.uuid}.html"
    write_whole(path, report.page(document))
    return path


def _machine(tools: Tools) -> dict[str, Any]:
    found: dict[str, Any] = {"processors": os.cpu_count(), "architecture": platform.machine()}
    found["load"] = round(os.getloadavg()[0], 2)
    found["pinned to processor"] = "-" if tools.processor is None else tools.processor
    found["throughput by"] = tools.iperf3_version or "kubedyno"
    found["congestion control"] = tools.congestion_control
    return found


def _default_congestion_control() -> str:
    try:
        return FilePath("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
