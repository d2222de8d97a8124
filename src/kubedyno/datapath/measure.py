"""One run of one test on one topology: processes in, figures and proofs out.

Both ends are pinned on one processor (a round trip over two is mostly the time to wake the other one up) and raised in
priority where allowed. CPU is what both ends used, with what the kernel's softirq thread of that processor did for them.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import orjson

import kubedyno
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.datapath import iperf3, proof, tests, traffic
from kubedyno.datapath.tests import Kind, Test
from kubedyno.datapath.topology import Ends, Place, Topology, Variant
from kubedyno.datapath.traffic import Order
from kubedyno.documents.net import Round
from kubedyno.kernel.netns import Namespace

IPERF3_PORT, OWN_PORT = 5201, 5202
# A test that takes this much longer than it should is stuck, and is killed.
_GRACE_S = 10.0
_READY_TIMEOUT_S = 10.0
_PRIORITY = -15
_POLL_S = 0.002
_PIPE_BYTES = 1 << 16
# Room for the headers on every path (VXLAN 50, IPv6 and UDP 48, and some): like is compared with like.
_HEADER_BYTES = 50 + 48 + 4
_TCP_LISTEN = "0A"
# A tool that we started ends with us, whatever ends us.
_LEASH = (sys.executable, "-S", "-m", "kubedyno.kernel.leash")


@dataclass(frozen=True, slots=True)
class Tools:
    """What drives the tests.

    Attributes:
        iperf3: Its path, "" to use our own generator.
        iperf3_version: E.g. "iperf3 3.12".
        processor: Both ends run on it; None leaves it to the kernel.
        congestion_control: Set on each TCP socket, never the system's default.
    """

    iperf3: str
    iperf3_version: str
    processor: int | None
    congestion_control: str = "cubic"

    def tool_of(self, test: Test) -> str:
        """Return what runs a test."""
        return self.iperf3_version if self.iperf3 and not test.is_latency else "kubedyno"


def found_tools(*, own: bool = False, pinned: bool = True, congestion_control: str = "cubic") -> Tools:
    """Look for iperf3 (unless our own generator is asked for) and choose a processor."""
    path = "" if own else shutil.which("iperf3") or ""
    version = ""
    if path:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout  # noqa: S603 - found in PATH
        words = said.split()
        version = f"iperf3 {words[1]}" if len(words) > 1 else "iperf3"
    processor = max(os.sched_getaffinity(0)) if pinned else None
    return Tools(path, version, processor, congestion_control)


def run(topology: Topology, test: Test, place: Place, family: int, seconds: float, tools: Tools, number: int) -> Round:
    """Run one test once.

    Args:
        topology: Where.
        test: What.
        place: Of the server.
        family: 4 or 6.
        seconds: How long; iperf3 takes whole seconds, so at least 1 of them.
        tools: With what.
        number: Of the round.

    Returns:
        Figures and proofs; with `error` set when the run failed. One failing run never ends the others.
    """
    ends = topology.ends(place, family)
    before = topology.counters(place, family)
    softirq_s = _softirq_s(tools.processor)
    try:
        if test.is_latency or not tools.iperf3:
            figures, cpu_s = _own(ends, test, seconds, tools, topology.variant)
        else:
            figures, cpu_s = _iperf3(ends, test, max(1, round(seconds)), tools, topology.variant)
    except KubedynoError as error:
        return Round(number, {}, [], str(error))
    cpu_s += _softirq_s(tools.processor) - softirq_s
    grown = proof.difference(before, topology.counters(place, family))
    payload = int(figures.pop("bytes", 0.0))
    if payload:
        figures["cpu_s_per_gb"] = cpu_s / (payload / 1e9)
        figures["mean_packet_bytes"] = grown["client.tx_bytes"] / max(1, grown["client.tx_packets"])
        if test.kind is Kind.STREAM:
            figures["retransmits"] = float(grown["client.retransmits"])
    figures["ip_too_big"] = float(sum(value for name, value in grown.items() if name.endswith("ip.too_big")))
    proofs = proof.prove(
        topology.variant,
        place,
        grown,
        transactions=int(figures.get("count", 0)),
        payload_bytes=payload if test.kind is Kind.STREAM else 0,
        forward=test.kind is Kind.STREAM and test.forward > 0,
    )
    return Round(number, figures, proofs)


# --- iperf3 --------------------------------------------------------------------------------------------------------


def command_of(test: Test, address: str, seconds: float, tools: Tools, mtu: int) -> list[str]:
    """Return iperf3's command line for a test, [] when our own generator runs it."""
    if test.is_latency or not tools.iperf3:
        return []
    whole = max(1, round(seconds))
    words = tests.iperf3_arguments(test, address, IPERF3_PORT, whole, congestion_control=tools.congestion_control)
    return words + (["-l", str(mtu - _HEADER_BYTES)] if test.kind is Kind.DATAGRAMS else [])


def _iperf3(ends: Ends, test: Test, seconds: int, tools: Tools, variant: Variant) -> tuple[dict[str, float], float]:
    serving = [*_LEASH, tools.iperf3, "-s", "-1", "-B", ends.listen, "-p", str(IPERF3_PORT)]
    with tempfile.TemporaryFile() as output:
        server = _started(ends.server, serving, tools, subprocess.DEVNULL)
        try:
            _until_listening(ends.server, server)
            driving = [*_LEASH, tools.iperf3, *command_of(test, ends.address, seconds, tools, variant.mtu)[1:]]
            client = _started(ends.client, driving, tools, output)
            _wait(client, seconds + _GRACE_S)
            _wait(server, _GRACE_S)
        finally:
            _killed(server)
        output.seek(0)
        measured = iperf3.parse(output.read())
    figures = {"bps": measured.bps, "bytes": float(measured.bytes), "sent_bps": measured.sent_bps}
    for name in ("lost_percent", "jitter_us", "reverse_bps"):
        value = getattr(measured, name)
        if value is not None:
            figures[name] = value
    return figures, measured.cpu_s


def _until_listening(space: Namespace, server: subprocess.Popen[bytes]) -> None:
    wanted = f":{IPERF3_PORT:04X} "
    end_s = SYSTEM_CLOCK.monotonic() + _READY_TIMEOUT_S
    while not any(
        wanted in line and f" {_TCP_LISTEN} " in line
        for table in ("tcp", "tcp6")
        for line in space.proc_net(table).splitlines()
    ):
        if server.poll() is not None or SYSTEM_CLOCK.monotonic() > end_s:
            raise KubedynoError(f"iperf3 -s: does not listen on port {IPERF3_PORT} (exit code {server.returncode})")
        select.select([], [], [], _POLL_S)


# --- our own generator -------------------------------------------------------------------------------------------


def _own(ends: Ends, test: Test, seconds: float, tools: Tools, variant: Variant) -> tuple[dict[str, float], float]:
    order = Order(
        mode=test.kind,
        address=ends.listen,
        port=OWN_PORT,
        seconds=seconds,
        bytes=variant.mtu - _HEADER_BYTES if test.kind is Kind.DATAGRAMS else 1,
        forward=test.forward,
        reverse=test.reverse,
        rate_bps=test.rate_bps,
        congestion_control=test.congestion_control or tools.congestion_control,
    )
    server = _End(ends.server, "serve", order, tools)
    try:
        if (line := server.line(_READY_TIMEOUT_S)) != b'"ready"':
            raise KubedynoError(_said(line, "server"))
        client = _End(ends.client, "drive", replace(order, address=ends.address), tools)
        try:
            said = _figures_of(client.line(seconds + _GRACE_S), "client")
            heard = _figures_of(server.line(_GRACE_S), "server")
        finally:
            client.close()
    finally:
        server.close()
    return _own_figures(test, said, heard), said["cpu_s"] + heard["cpu_s"]


class _End:
    """One end of our own traffic: a forked child in a namespace. Forking takes 2 ms where starting Python takes 20."""

    def __init__(self, space: Namespace, end: str, order: Order, tools: Tools) -> None:
        self._answers, writing = os.pipe()
        with space.inside():
            self._process = os.fork()
            if self._process == 0:  # still inside: the child never leaves the namespace
                if tools.processor is not None:
                    os.sched_setaffinity(0, {tools.processor})
                _raise_priority(0)
                traffic.run_end(end, order, writing)
        os.close(writing)
        self._rest = b""

    def line(self, limit_s: float) -> bytes:
        """Return the next line, b"" when the child has ended without one or says nothing in time."""
        end_s = SYSTEM_CLOCK.monotonic() + limit_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end_s - SYSTEM_CLOCK.monotonic()))
            data = os.read(self._answers, _PIPE_BYTES) if ready else b""
            if not data:
                break
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """End the child if it has not ended by itself."""
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._answers)


def _said(line: bytes, end: str) -> str:
    return f"traffic {end}: {line.decode(errors='replace') or 'said nothing in time'}"


def _figures_of(line: bytes, end: str) -> dict[str, Any]:
    value = orjson.loads(line) if line.startswith(b"{") else None
    if not isinstance(value, dict) or "error" in value:
        raise KubedynoError(f"traffic {end}: {value['error']}" if isinstance(value, dict) else _said(line, end))
    return value


def _own_figures(test: Test, client: dict[str, Any], server: dict[str, Any]) -> dict[str, float]:
    if test.is_latency:
        return {name: float(value) for name, value in client["latency"].items()}
    if test.kind is Kind.STREAM:
        streams = [*client["streams"], *server["streams"]]
        taken = [one for one in streams if not one["sends"]]
        offered = [one for one in streams if one["sends"]]
        back = sum(one["bytes"] * 8 / one["seconds"] for one in client["streams"] if not one["sends"])
        figures = {
            "bps": sum(one["bytes"] * 8 / one["seconds"] for one in taken),
            "bytes": float(sum(one["bytes"] for one in taken)),
            "sent_bps": sum(one["bytes"] * 8 / one["seconds"] for one in offered),
        }
        return figures | ({"reverse_bps": back} if test.forward and test.reverse else {})
    both = client | server
    received, sent = both["received"], both["sent"]
    seconds = received["seconds"] or sent["seconds"]
    return {
        "bps": received["bytes"] * 8 / seconds,
        "bytes": float(received["bytes"]),
        "sent_bps": sent["bytes"] * 8 / sent["seconds"],
        "lost_percent": 100 * max(0, sent["datagrams"] - received["datagrams"]) / max(1, sent["datagrams"]),
        "jitter_us": float(received["jitter_us"]),
    }


# --- processes ---------------------------------------------------------------------------------------------------


@contextmanager
def _pinned(processor: int | None) -> Iterator[None]:
    """Run the body on one processor; a child started meanwhile stays there."""
    if processor is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _started(
    space: Namespace, command: Sequence[str], tools: Tools, stdout: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(kubedyno.__file__).parents[1])}
    with _pinned(tools.processor):
        child = space.spawn(command, stdout=stdout, environment=environment)
    _raise_priority(child.pid)
    return child


def _raise_priority(process: int) -> None:
    with suppress(PermissionError, ProcessLookupError):  # without root it stays
        os.setpriority(os.PRIO_PROCESS, process, _PRIORITY)


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait for a child's end.

    Raises:
        KubedynoError: It does not end in time; it is killed.
    """
    try:
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        _killed(child)
        name = " ".join(map(str, child.args)) if isinstance(child.args, list) else "the test"
        raise KubedynoError(f"{name}: did not end within {limit_s:g} s; killed") from None
    except BaseException:
        _killed(child)  # Ctrl-C: nothing is left running
        raise


def _killed(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None and child.poll() is None:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _softirq_s(processor: int | None) -> float:
    """Return the CPU seconds of a processor's softirq thread so far, 0 without one."""
    if processor is None:
        return 0.0
    thread = _softirq_thread(processor)
    try:
        return int(Path(f"/proc/{thread}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


_threads: dict[int, int] = {}


def _softirq_thread(processor: int) -> int:
    if processor not in _threads:
        wanted = f"ksoftirqd/{processor}\n"
        _threads[processor] = 0
        for path in Path("/proc").glob("[0-9]*/comm"):
            with suppress(OSError):
                if path.read_text(encoding="utf-8") == wanted:
                    _threads[processor] = int(path.parent.name)
                    break
    return _threads[processor]
