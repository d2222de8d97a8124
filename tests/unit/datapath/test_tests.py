"""The tests by name, iperf3's command lines and its output."""

from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.datapath import iperf3, tests

GOLDEN = Path(__file__).parents[2] / "golden" / "net"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tcp", "-t 5 -J -C cubic"),
        ("udp", "-t 5 -J -u -b 20000000000"),
        ("tcp-bidir", "-t 5 -J -C cubic --bidir"),
        ("tcp-2", "-t 5 -J -C cubic -P 2"),
        ("tcp-30", "-t 5 -J -C cubic -P 30"),
        ("tcp-reverse", "-t 5 -J -C cubic -R"),
        ("udp-reverse", "-t 5 -J -u -b 1048576 -R"),
        ("tcp-bbr", "-t 5 -J -C bbr"),
    ],
)
def test_the_studys_command_lines(name, expected):
    words = tests.iperf3_arguments(tests.TESTS[name], "10.0.0.1", 5201, 5, congestion_control="cubic")
    assert " ".join(words) == f"iperf3 -c 10.0.0.1 -p 5201 {expected}"


def test_sets_and_names_are_taken_once_in_order():
    assert [test.name for test in tests.chosen("tcp, quick,udp")] == ["tcp", "tcp-rr", "udp"]


def test_a_misspelt_test_is_named_with_its_neighbour():
    with pytest.raises(KubedynoError, match="no test 'tcp-r'; did you mean 'tcp-rr'"):
        tests.chosen("tcp-r")
    with pytest.raises(KubedynoError, match="at least one"):
        tests.chosen(" , ")


def test_both_directions_add_up():
    found = iperf3.parse((GOLDEN / "iperf3-3.12-bidir.json").read_bytes())
    assert found.reverse_bps == pytest.approx(21.44e9, rel=0.01)
    assert found.bps == pytest.approx(41.50e9, rel=0.01)
    assert found.retransmits == 10
    assert found.cpu_s > 0


def test_datagrams_have_loss_and_jitter_and_the_receivers_bytes():
    found = iperf3.parse((GOLDEN / "iperf3-3.12-udp-reverse.json").read_bytes())
    assert found.lost_percent == pytest.approx(100 / 764)
    assert found.jitter_us == pytest.approx(16.446, abs=0.001)
    assert found.bytes == 25_001_984  # 763 of 764 datagrams
    assert found.bps < found.sent_bps


def test_iperf3s_own_words_are_the_error():
    with pytest.raises(KubedynoError, match="iperf3: unable to connect"):
        iperf3.parse(b'{"error": "unable to connect to server"}')
    with pytest.raises(KubedynoError, match="no JSON"):
        iperf3.parse(b"iperf3: interrupt")
    with pytest.raises(KubedynoError, match="has no 'start'"):
        iperf3.parse(b'{"end": {}}')
