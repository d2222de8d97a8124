from kubedyno.documents.net import Missing, NetFinding, NetLabRun, Proof, Ratio, Round, Row
from kubedyno.report import net

EVIL = "<script>alert(1)</script>"


def a_row(variant: str, test: str = "tcp-rr", ratio: Ratio | None = None, held: tuple[bool, ...] = (True,)) -> Row:
    figures = (
        {"p50_us": 10.0, "p90_us": 11.0, "p99_us": 12.0, "per_s": 1e5}
        if test == "tcp-rr"
        else {"bps": 5e9, "cpu_s_per_gb": 0.2}
    )
    rounds = [Round(0, figures, [Proof("path", one, {"a.bpf.peer": 5}) for one in held])]
    return Row(
        "u", "t", variant.split(maxsplit=1)[0], variant, "same-node", 4, 1500, 65536, test, "kubedyno", "", rounds, figures,
        {"p50_us" if test == "tcp-rr" else "cpu_s_per_gb": [ratio]} if ratio else {},
    )  # fmt: skip


def a_run(*rows: Row) -> NetLabRun:
    return NetLabRun(
        "u", "0", EVIL, {"load": EVIL}, "t", "t", list(rows), {}, [Missing(EVIL, [EVIL])],
        [NetFinding(EVIL, [EVIL], [EVIL])], [EVIL],
    )  # fmt: skip


def test_the_table_says_ratio_interval_and_proof():
    rows = [a_row("host"), a_row("ebpf", ratio=Ratio("host", 1.06, 1.05, 1.08, 0.97, 6, resolved=True))]
    lines = net.lines(a_run(*rows))
    assert lines[:4] == [
        "tcp-rr, same-node, IPv4, MTU 1500 (kubedyno, 1 rounds)",
        "DATAPATH  P50 us   P90   P99    OP/s  P50 TO HOST   INTERVAL  PROVEN",
        "host        10.0  11.0  12.0  100000                             yes",
        "ebpf        10.0  11.0  12.0  100000        x1.06  1.05-1.08     yes",
    ]


def test_what_is_not_resolved_or_not_proven_says_so():
    ratio = Ratio("host", 1.06, 0.9, 1.2, 0.97, 6, resolved=False)
    lines = net.lines(a_run(a_row("ebpf", ratio=ratio, held=(False,)), a_row("route x", "tcp", held=(True, False))))
    assert lines[2].split()[-4:] == ["not", "resolved", "0.90-1.20", "NO"]
    assert lines[6].endswith("path, not BIG TCP")


def test_too_few_rounds_are_said():
    ratio = Ratio("host", 1.06, 1.05, 1.08, 0.75, 3, resolved=False)
    assert "few rounds  1.05-1.08" in net.lines(a_run(a_row("ebpf", ratio=ratio)))[2]


def test_columns_that_nothing_fills_are_left_out():
    assert net.lines(a_run(a_row("host", "tcp")))[1] == "DATAPATH  Gbit/s  CPU s/GB  PROVEN"


def test_the_page_escapes_every_string_and_needs_no_network():
    page = net.page(a_run(a_row("host"), a_row("ebpf" + EVIL)))
    assert EVIL not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
