"""Outputs of generators, tables, and the document for perfdash."""

import json

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.netperf.plan import Action
from kubedyno.netperf.results import Figures, law_error_percent, netperf, own
from kubedyno.netperf.tables import Result, intervals_of, lines_of, perfdash_of

STREAM = "0,14.87,903,15,18,44,1.000,8764.41,10^6bits/s"
RR = "15,25.44,4034,19,37,89,39147.099,39147.10,Trans/s"


def action(test="TCP_RR", sample=1):
    return Action(test, "perf-client", "perf-server", "pod-to-pod", "same-node", sample)


def test_netperf_lines_become_figures():
    assert netperf("TCP_STREAM", 1, f"MIGRATED TCP STREAM TEST\nMinimum,Mean\n{STREAM}\n") == Figures(bps=8764.41e6)
    assert netperf("TCP_RR", 1, RR) == Figures(15, 25.44, 4034, 19, 37, 89, 39147.099)


def test_parallel_streams_are_added_up():
    lines = [STREAM, STREAM.replace("8764.41", "8705.54"), STREAM.replace("8764.41", "9649.26")]
    assert netperf("TCP_STREAM_MULTI", 3, "\n".join(lines)).bps == pytest.approx(27119.21e6)


@pytest.mark.parametrize(
    ("test", "expected", "text", "words"),
    [
        ("TCP_STREAM_MULTI", 4, STREAM, "expected 4, got 1"),
        ("TCP_STREAM", 1, "1,2,3", "expected 9 fields, got 3"),
        ("TCP_STREAM", 1, STREAM.replace("10^6bits/s", "KBytes/s"), "unit KBytes/s"),
        ("TCP_RR", 1, RR.replace("25.44", "?"), "could not convert"),
        ("TCP_RR", 1, "establish control: are you sure there is a netserver", "expected 1, got 0"),
    ],
)
def test_other_lines_are_refused(test, expected, text, words):
    with pytest.raises(KubedynoError, match=words.replace("?", r"\?")):
        netperf(test, expected, text)


def test_our_own_output_counts_what_arrived():
    streams = [{"sends": False, "bytes": 1000, "seconds": 1.0}, {"sends": False, "bytes": 500, "seconds": 0.5}]
    assert own(json.dumps({"drive": {"streams": []}, "serve": {"streams": streams}}).encode()).bps == 16000
    arrived = {"datagrams": 75, "asked": 100, "lost": 25, "bytes": 100, "seconds": 1.0, "jitter_us": 2.5}
    found = own(json.dumps({"drive": {"sent": {}}, "serve": {"received": arrived}}).encode())
    assert (found.bps, found.lost_percent, found.jitter_us) == (800, 25, 2.5)
    for text in (b"", b"{}", b'{"drive": {"latency": {}}, "serve": {}}'):
        with pytest.raises(KubedynoError, match="no result of the generator"):
            own(text)


def test_the_law_of_request_response_holds_for_published_results():
    # OP/s is 1e6 / mean latency in us, within a percent.
    for mean, rate in ((44.35, 22434.15), (146.96, 6793.74), (46.81, 21267.51)):
        assert law_error_percent(Figures(mean_us=mean, per_s=rate)) < 1
    assert law_error_percent(Figures(mean_us=100.0, per_s=5000.0)) == pytest.approx(50)
    assert law_error_percent(Figures(bps=1.0)) is None


def test_tables_have_the_originals_columns():
    lines = lines_of(
        "cilium-test-1", [Result(action(), netperf("TCP_RR", 1, RR)), Result(action("TCP_STREAM"), Figures(bps=20936e6))], 10.0
    )  # fmt: skip
    assert lines[0] == "🔥 Network Performance Test Summary [cilium-test-1]:"
    assert (len(lines[1]), len(lines[6])) == (200, 88)
    assert lines[4] == (
        "📋 pod-to-pod      | same-node  | TCP_RR          | 10s             | 15µs            | 25.44µs         | "
        "4.034ms         | 19µs            | 37µs            | 89µs            | 39147.10    "
    )
    assert lines[9] == "📋 pod-to-pod      | same-node  | TCP_STREAM         | 10s             | 20936.00    "


def test_perfdash_gets_one_item_for_each_figure_of_each_sample():
    text = perfdash_of([Result(action(), netperf("TCP_RR", 1, RR)), Result(action("TCP_STREAM", 2), Figures(bps=1e6))])
    document = json.loads(text)
    assert document["version"] == "v1"
    labels = {"scenario": "pod-to-pod", "node": "same-node"}
    assert document["dataItems"] == [
        {
            "data": {"Perc50": 19, "Perc90": 37, "Perc99": 89}, "unit": "us",
            "labels": {"metric": "Latency", **labels, "test_type": "netperf-TCP_RR"},
        },
        {
            "data": {"Throughput": 39147.099}, "unit": "ops/s",
            "labels": {"metric": "TransactionRate", **labels, "test_type": "netperf-TCP_RR"},
        },
        {
            "data": {"Throughput": 1}, "unit": "Mb/s",
            "labels": {"metric": "Throughput", **labels, "test_type": "netperf-TCP_STREAM"},
        },
    ]  # fmt: skip
    assert text.startswith(b'{\n  "version"')
    assert text.endswith(b"}\n")


def test_several_samples_have_an_interval_and_wide_ones_are_called_unresolved():
    def lines(*rates):
        return intervals_of([Result(action("TCP_STREAM", n), Figures(bps=rate)) for n, rate in enumerate(rates, 1)])

    assert lines(1e9) == []
    # Student's t for two degrees of freedom is 4.303; the standard error of 99, 100, 101 is 1 / sqrt(3).
    assert lines(99e6, 100e6, 101e6) == ["pod-to-pod same-node TCP_STREAM: 100.00 Mb/s, 95% 97.52 to 102.48"]
    assert lines(10e6, 100e6)[0].endswith(": not resolved by 2 samples")
