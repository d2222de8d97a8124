"""Frames of the terminal view: what they show, that they fit, and that no name leaves its place."""

import re

from msgspec.structs import replace

from kubedyno.web.frame import Event, Look, frame
from kubedyno.web.rows import State, node_row, pod_row
from kubedyno.web.terminal import pressed

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def node(name, pods=110):
    return node_row(
        b'{"metadata": {"name": "%s"}, "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"allocatable": {"cpu": "4", '
        b'"memory": "8Gi", "pods": "%d"}, "conditions": [{"type": "Ready", "status": "True"}]}}' % (name.encode(), pods)
    )


def pod(name, node_name="n1", state=State.READY, **more):
    raw = b'{"metadata": {"name": "x", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}}'
    values = {"name": name, "node": node_name, "state": state, "cpu_milli": 500, "addressed": True}
    return replace(pod_row(raw), **(values | more))


def text(*args, **more):
    return "\n".join(frame("https://s", *args, **more))


def test_bars_are_requests_pods_and_addresses_of_what_a_node_has():
    pods = [pod("a"), pod("b"), pod("c", state=State.SUCCEEDED)]
    shown = text([node("n1")], pods, [], Look())
    assert "cpu ██░░░░░░░░  25%" in shown
    assert "pods █░░░░░░░░░ 2/110" in shown
    assert "ips █░░░░░░░░░ 2/253" in shown
    assert "  ■■✓" in shown


def test_bars_are_what_is_used_where_it_is_known_and_requests_stand_beside():
    pods = [pod("a"), pod("b"), pod("c", "n2")]
    uses = {"n1": (400, 4 << 30)}
    lines = frame("s", [node("n1"), node("n2")], pods, [], Look(width=140), uses=uses)
    one, two = lines[1], lines[3]
    assert "cpu █▒░░░░░░░░  10%/25%" in one
    # More is used than is requested.
    assert "mem █████░░░░░  50%/0%" in one
    assert "cpu ▒░░░░░░░░░    ?/12%" in two
    assert lines[-1] == "cpu, mem: █ used (metrics.k8s.io) / ▒ requested"
    assert frame("s", [node("n1")], pods, [], Look())[-1] == "cpu, mem: █ requested (no metrics.k8s.io)"
    by_memory = frame("s", [node("n2"), node("n1")], pods, [], Look(sort="memory"), uses=uses)
    assert by_memory[1].startswith("n1")


def test_names_are_whole_as_long_as_bars_can_be_shorter():
    nodes, pods = [node("kubedyno-control-plane")], [pod("a", "kubedyno-control-plane")]
    widths = {140: 10, 106: 4, 94: 2, 81: 0}
    for width, cells in widths.items():
        line = frame("s", nodes, pods, [], Look(width=width), uses={"kubedyno-control-plane": (1, 1)})[1]
        assert line.startswith("kubedyno-control-plane  cpu ")
        assert line.endswith("ips " + "█" * (cells > 0) + "░" * (cells - 1) + " " * (cells > 0) + "1/253")
    assert frame("s", nodes, pods, [], Look(width=70))[1].startswith("kubedyno-control-plane  cpu  12%")
    assert frame("s", nodes, pods, [], Look(width=40))[1].startswith("kubedyn…  cpu  12%")


def test_wide_characters_take_two_columns():
    events = [Event("", True, "理由", "ns/x", "\u306b" * 50)]
    line = frame("s", [], [], events, Look(width=40))[-2]
    assert line == " 理由 ns/x: " + "\u306b" * 13 + "…"


def test_pods_without_a_node_come_first_with_the_reason():
    lines = frame("s", [node("n1")], [pod("a", "", State.PENDING, why="0/1 nodes\x1b[2J")], [], Look())
    assert lines[1].startswith("(no node)")
    assert lines[1].endswith("1 pods  0/1 nodes?[2J")


def test_every_line_fits_whatever_the_names_and_nothing_hostile_is_left():
    hostile = "\x1b]0;x\x07\u202e\n\r" * 20
    pods = [pod(hostile + str(i), state=State(i % 7), labels={"kube-burner.io/uuid": hostile}) for i in range(900)]
    events = [Event(hostile, True, hostile, hostile, hostile)] * 9
    uses = {hostile: (5, 5)}
    for width, height in ((1, 1), (3, 5), (20, 6), (80, 24), (200, 50)):
        nodes = [replace(node(f"n{i}"), name=hostile if i else "n1", ready=False, why=hostile) for i in range(3)]
        look = Look(width=width, height=height, colour=True, filter="", typing=True)
        lines = frame(hostile, nodes, pods, events, look, hostile, uses=uses)
        assert len(lines) <= height
        for line in lines:
            plain = ESCAPES.sub("", line)
            assert plain.isprintable()
            assert len(plain) <= width


def test_trouble_is_never_what_is_cut():
    pods = [pod(f"{i:05}") for i in range(5000)] + [pod("z", state=State.TROUBLE)]
    shown = text([node("n1", 9999)], pods, [], Look(width=80))
    assert "!■" in shown
    assert re.search(r" \+\d+$", shown, re.MULTILINE)
    squares = sum(line.count("■") + line.count("!") for line in shown.split("\n")[1:])
    assert squares + int(re.search(r" \+(\d+)$", shown, re.MULTILINE)[1]) == 5001


def test_filter_and_sort():
    nodes, pods = [node("n1"), node("n2")], [pod("web", labels={"app": "shop"}), pod("db", "n2"), pod("db2", "n2")]
    shown = text(nodes, pods, [], Look(filter="app=shop"))
    assert "1 pods" in shown
    assert "n2" not in shown
    by_pods = text(nodes, pods, [], Look(sort="pods"))
    assert by_pods.index("n2") < by_pods.index("n1")


def test_the_latest_run_has_a_line():
    labels = {"kube-burner.io/uuid": "u2", "kube-burner.io/job": "j"}
    pods = [
        pod("a", created_s=100, labels=labels | {"kube-burner.io/uuid": "u1"}),
        pod("b", created_s=195, labels=labels),
        pod("c", created_s=196, labels=labels, state=State.PENDING),
    ]
    assert "run u2 · j · 1/2 ready · 0.2 pods/s in 10 s" in text([], pods, [], Look(), now_s=200)


def test_keys():
    look = pressed(Look(), "/")
    for keys in ("q", "ab", "\x7f"):
        look = pressed(look, keys)
    assert (look.filter, look.typing) == ("qa", True)
    assert pressed(look, "\r").typing is False
    assert pressed(look, "\x1b").filter == ""
    assert pressed(Look(), "s").sort == "pods"
    assert pressed(pressed(Look(), "\x1b[B"), "\x1b[A").top == 0
    assert pressed(Look(), "q") is None


def test_what_is_sorted_by_is_said_and_lines_reach_as_far_as_the_window():
    lines = frame("s", [], [], [Event("", False, "r", "a", "m")], Look(width=100, height=12, sort="pods"))
    assert "s sort (pods)" in lines[-1]
    (line,) = [line for line in lines if line.startswith("─ events ")]
    assert line == "─ events " + "─" * 91
