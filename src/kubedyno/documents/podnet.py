"""The documents of `net perf` and `net test`: one of the whole run, and one a measurement or test for indexers."""

import msgspec

PERF_FILE_NAME, PERF_ROW_FILE_NAME = "kubedynoNetPerf", "netPerf"
TEST_FILE_NAME, TEST_ROW_FILE_NAME = "kubedynoNetTest", "netTest"


class PerfRow(msgspec.Struct, frozen=True):
    """One measurement between two ends.

    Attributes:
        uuid: Of the run.
        timestamp: RFC 3339, the run's end.
        test: E.g. "TCP_STREAM_MULTI".
        scenario: E.g. "pod-to-host".
        node: "same-node" or "other-node"; "" where the cluster's scheduler chose.
        sample: From 1.
        client: Deployment, or what it is called.
        server: Deployment, or the way to it.
        figures: By name with the unit in it: `bps`, `p50_us`, `per_s`.
    """

    uuid: str
    timestamp: str
    test: str
    scenario: str
    node: str
    sample: int
    client: str
    server: str
    figures: dict[str, float]
    metricName: str = PERF_ROW_FILE_NAME


class PodNetRun(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of either run; times are RFC 3339.

    Attributes:
        kubedyno: Version.
        cluster: Its API server's address, or "embedded NAME".
        took_s: All of it.
        error: Why it ended early, "" when it did not.
    """

    uuid: str
    kubedyno: str
    cluster: str
    started: str
    took_s: float
    exit_code: int
    error: str = ""


class NetPerfRun(PodNetRun, frozen=True, kw_only=True):
    """One run of `net perf`.

    Attributes:
        tool: What made the traffic.
        duration_s: Of each measurement; 0 where the commands have their own.
        lines: What was printed at the end.
    """

    tool: str
    duration_s: float
    rows: list[PerfRow]
    lines: list[str]
    metricName: str = PERF_FILE_NAME


class TestRow(msgspec.Struct, frozen=True):
    """One test: how many actions it had, which of them failed and why, or why it was skipped."""

    uuid: str
    timestamp: str
    test: str
    status: str
    actions: int
    took_s: float
    failures: list[tuple[str, str]]
    skipped: str = ""
    metricName: str = TEST_ROW_FILE_NAME


class NetTestRun(PodNetRun, frozen=True, kw_only=True):
    """One run of `net test`."""

    rows: list[TestRow]
    metricName: str = TEST_FILE_NAME
