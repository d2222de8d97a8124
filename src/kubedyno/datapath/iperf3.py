"""iperf3's `-J` output → figures. Pure.

iperf3 3.12 and 3.17 differ in what they say of the receiver of datagrams; where the receiver's own count is missing,
it is what was sent less what was lost.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError


@dataclass(frozen=True, slots=True)
class Throughput:
    """What arrived.

    Attributes:
        bps: Bits of payload received a second, all directions and streams together.
        bytes: Received.
        seconds: Of the test.
        sent_bps: Bits offered a second.
        retransmits: Segments sent again, where the sender counts them.
        lost_percent: Of datagrams.
        jitter_us: Of datagrams.
        cpu_s: CPU that both ends used, by their own account.
        reverse_bps: The part of `bps` from server to client in a test of both directions.
    """

    bps: float
    bytes: int
    seconds: float
    sent_bps: float
    retransmits: int | None = None
    lost_percent: float | None = None
    jitter_us: float | None = None
    reverse_bps: float | None = None
    cpu_s: float = 0.0


def parse(output: bytes) -> Throughput:
    """Return the figures of one run.

    Raises:
        KubedynoError: iperf3 says that it failed, or the text is not its JSON.
    """
    try:
        document: dict[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        start = output[:200].decode(errors="replace").strip()
        raise KubedynoError(f"iperf3: no JSON in its output ({error}): {start!r}") from error
    if "error" in document:
        raise KubedynoError(f"iperf3: {document['error']}")
    end = document.get("end", {})
    try:
        datagrams = document["start"]["test_start"]["protocol"].upper() == "UDP"
        measured = _datagrams(end) if datagrams else _streams(end)
        used = end["cpu_utilization_percent"]
        percent = float(used["host_total"]) + float(used["remote_total"])
        return replace(measured, cpu_s=percent / 100 * measured.seconds)
    except (KeyError, TypeError) as error:
        raise KubedynoError(f"iperf3: its output has no {error}; versions 3.7 to 3.19 are known to have it") from error


def _streams(end: dict[str, Any]) -> Throughput:
    received, sent = end["sum_received"], end["sum_sent"]
    back, back_sent = end.get("sum_received_bidir_reverse"), end.get("sum_sent_bidir_reverse", {})
    reverse_bps = float(back["bits_per_second"]) if back else None
    return Throughput(
        bps=float(received["bits_per_second"]) + (reverse_bps or 0.0),
        bytes=int(received["bytes"]) + (int(back["bytes"]) if back else 0),
        seconds=float(received["seconds"]),
        sent_bps=float(sent["bits_per_second"]) + float(back_sent.get("bits_per_second", 0.0)),
        retransmits=int(sent.get("retransmits", 0)) + int(back_sent.get("retransmits", 0)),
        reverse_bps=reverse_bps,
    )


def _datagrams(end: dict[str, Any]) -> Throughput:
    total = end["sum"]
    sent = end.get("sum_sent", total)
    packets, lost = int(total["packets"]), int(total["lost_packets"])
    received = end.get("sum_received", {})
    seconds = float(total["seconds"])
    arrived = (packets - lost) / packets if packets else 0.0
    # 3.12's `sum_received` holds the sender's bytes again: it is believed only when it says fewer.
    size = min(int(received.get("bytes") or sent["bytes"]), round(int(sent["bytes"]) * arrived))
    return Throughput(
        bps=size * 8 / seconds if seconds else 0.0,
        bytes=size,
        seconds=seconds,
        sent_bps=float(sent["bits_per_second"]),
        lost_percent=100 * lost / packets if packets else 0.0,
        jitter_us=float(total["jitter_ms"]) * 1000,
    )
