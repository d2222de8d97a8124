"""The tests by name: what each does, and its iperf3 command line. Pure.

In: a name of the command line. Out: a `Test`. The study's own runs are among them: `-t 5`, `-u -b 20G`, `-t 5 --bidir`,
`-t 10 -P 2`, `-P 30`, `-R`, `-u -R`.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from kubedyno.base.errors import KubedynoError

STUDY_UDP_BPS = 20e9


class Kind(StrEnum):
    """What is sent."""

    STREAM = "stream"
    DATAGRAMS = "datagrams"
    TCP_RR = "tcp-rr"
    TCP_CRR = "tcp-crr"
    UDP_RR = "udp-rr"


@dataclass(frozen=True, slots=True)
class Test:
    """One test.

    `forward` and `reverse` count streams from client to server and back; a `congestion_control` of its own goes before
    the run's.
    """

    name: str
    kind: Kind
    text: str
    seconds: float
    forward: int = 1
    reverse: int = 0
    rate_bps: float = 0.0
    congestion_control: str = ""

    @property
    def is_latency(self) -> bool:
        """Whether it gives percentiles and not throughput."""
        return self.kind in {Kind.TCP_RR, Kind.TCP_CRR, Kind.UDP_RR}


_S, _D = Kind.STREAM, Kind.DATAGRAMS
TESTS = {
    test.name: test
    for test in (
        Test("tcp", _S, "one TCP stream (iperf3 -t 5)", 5),
        Test("tcp-2", _S, "two TCP streams (iperf3 -t 10 -P 2)", 10, forward=2),
        Test("tcp-30", _S, "thirty TCP streams (iperf3 -P 30)", 10, forward=30),
        Test("tcp-bidir", _S, "a TCP stream each way at once (iperf3 -t 5 --bidir)", 5, forward=1, reverse=1),
        Test("tcp-reverse", _S, "one TCP stream from the server (iperf3 -R)", 10, forward=0, reverse=1),
        Test("tcp-bbr", _S, "one TCP stream under bbr", 5, congestion_control="bbr"),
        Test("udp", _D, "UDP at 20 Gbit/s (iperf3 -u -b 20G)", 10, rate_bps=STUDY_UDP_BPS),
        Test("udp-reverse", _D, "UDP from the server (iperf3 -u -R)", 10, forward=0, reverse=1, rate_bps=1_048_576),
        Test("tcp-rr", Kind.TCP_RR, "one byte and one back over one connection", 2),
        Test("tcp-crr", Kind.TCP_CRR, "connect, one byte and one back, close", 2),
        Test("udp-rr", Kind.UDP_RR, "one datagram and one back", 2),
    )
}
SETS = {
    "quick": ("tcp-rr", "tcp"),
    "default": ("tcp-rr", "udp-rr", "tcp-crr", "tcp", "udp"),
    "study": ("tcp", "udp", "tcp-bidir", "tcp-2", "tcp-30", "tcp-reverse", "udp-reverse"),
    "all": tuple(TESTS),
}


def chosen(words: str) -> list[Test]:
    """Return the tests of a comma-separated list of names and sets, each once, in the order asked for.

    Raises:
        KubedynoError: A name is unknown.
    """
    names: list[str] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word not in TESTS and word not in SETS:
            near = get_close_matches(word, [*TESTS, *SETS], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*TESTS, *SETS])}"
            raise KubedynoError(f"--tests: no test {word!r}; {hint}")
        names += [name for name in SETS.get(word, (word,)) if name not in names]
    if not names:
        raise KubedynoError(f"--tests: name at least one of {', '.join([*TESTS, *SETS])}")
    return [TESTS[name] for name in names]


def iperf3_arguments(test: Test, address: str, port: int, seconds: int, *, congestion_control: str = "") -> list[str]:
    """Return iperf3's client command line for a stream or datagram test. Its `-t` takes whole seconds only."""
    words = ["iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-J"]
    streams = max(test.forward, test.reverse)
    if test.kind is Kind.DATAGRAMS:
        words += ["-u", "-b", f"{test.rate_bps:.0f}"]
    elif test.congestion_control or congestion_control:
        words += ["-C", test.congestion_control or congestion_control]
    if test.forward and test.reverse:
        words.append("--bidir")
    elif test.reverse:
        words.append("-R")
    if streams > 1:
        words += ["-P", str(streams)]
    return words
