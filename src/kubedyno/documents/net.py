"""The documents of network measurements: one of the whole run, and one a figure for indexers."""

from typing import Any

import msgspec

FILE_NAME = "kubedynoNetLab"
ROW_FILE_NAME = "netLab"
# An interval's least confidence for a ratio to be called resolved: below five rounds, that all agree is chance in more
# than one case of ten.
ENOUGH = 0.9


class Ratio(msgspec.Struct, frozen=True):
    """How many times another path's figure this one is, over paired rounds.

    Attributes:
        to: What it is compared with.
        median: Of the rounds' ratios.
        low: Lower end of the interval of the median.
        high: Upper end.
        confidence: Of the interval, 0 to 1; few rounds cannot give much.
        rounds: How many pairs.
        resolved: Whether there are enough rounds and the interval leaves out 1: they agree on which is better.
    """

    to: str
    median: float
    low: float
    high: float
    confidence: float
    rounds: int
    resolved: bool


class Proof(msgspec.Struct, frozen=True):
    """What the kernel's counters say of the way the packets took; `held` is whether it is the one that was asked for."""

    claim: str
    held: bool
    counters: dict[str, int]


class Round(msgspec.Struct, frozen=True):
    """One run of one test.

    Attributes:
        round: Counted from 0.
        figures: By name, with the unit in it: `bps`, `p50_us`, `lost_percent`, `cpu_s_per_gb`.
        proofs: Of this very run.
        error: Why there are no figures, "" when there are.
    """

    round: int
    figures: dict[str, float]
    proofs: list[Proof]
    error: str = ""


class Row(msgspec.Struct, frozen=True):
    """One test on one datapath at one place.

    Attributes:
        datapath: E.g. "ebpf".
        variant: With its sizes, e.g. "ebpf big-tcp-192k".
        place: "same-node" or "other-node".
        family: 4 or 6.
        mtu: Bytes, of the wire.
        gso_max_size: Bytes.
        test: Its name.
        tool: "iperf3 3.12" or "kubedyno".
        command: What iperf3 was called with; "" for our own generator.
        rounds: All of them.
        median: Of each figure over the rounds.
        ratios: By figure: to the host baseline, for BIG TCP also to the same path at 64 KiB.
    """

    uuid: str
    timestamp: str
    datapath: str
    variant: str
    place: str
    family: int
    mtu: int
    gso_max_size: int
    test: str
    tool: str
    command: str
    rounds: list[Round]
    median: dict[str, float]
    ratios: dict[str, list[Ratio]]
    metricName: str = ROW_FILE_NAME


class Missing(msgspec.Struct, frozen=True):
    """What could not be measured here, and exactly why."""

    what: str
    why: list[str]


class NetFinding(msgspec.Struct, frozen=True):
    """Something worth knowing, in words."""

    title: str
    evidence: list[str]
    remedy: list[str]


class NetLabRun(msgspec.Struct, frozen=True):
    """One run of the lab; times are RFC 3339."""

    uuid: str
    kubedyno: str
    kernel: str
    machine: dict[str, Any]
    started: str
    ended: str
    rows: list[Row]
    gso_sizes: dict[str, dict[str, dict[str, int]]]
    missing: list[Missing]
    findings: list[NetFinding]
    warnings: list[str]
    metricName: str = FILE_NAME
