"""A cluster as lines of a terminal: what is known in, one frame out. Pure.

A state has a shape as well as a colour, so that a frame is read without colours, too. Every text is the cluster's, and
loses what is not printable before it is shown.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base.terminal import printable
from kubedyno.web.rows import NodeRow, PodRow, State

SORTS = ("name", "pods", "cpu", "memory")
# Shape and colour of the 256 (Okabe and Ito's) of each state.
_LOOKS = {
    State.READY: ("■", 32),
    State.STARTING: ("▣", 214),
    State.PENDING: ("□", 248),
    State.SUCCEEDED: ("✓", 36),
    State.FAILED: ("✗", 166),
    State.TERMINATING: ("▽", 175),
    State.TROUBLE: ("!", 196),
}
_WARNING = 214
_NAME = 24
# Cells of a bar where there is room for long ones, and else.
_WIDE, _LONG, _SHORT = 120, 10, 4
# So many rows of squares a node; what does not fit is a number.
_ROWS = 3
_EVENTS = 6
NO_NODE = "(no node)"
HELP = "q quit · / filter · s sort · ↑↓ scroll"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the tail; `time` is as told by the API."""

    time: str
    warning: bool
    reason: str
    about: str
    message: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a frame is to be.

    Attributes:
        width: Columns.
        height: Lines; None: as many as it takes.
        filter: Pods of which name, namespace, node or a label contain it, and nodes of which the name does or that have
            such pods.
        typing: The filter is being typed.
        sort: One of `SORTS`.
        top: Lines of nodes that are scrolled away.
        colour: Use colours.
    """

    width: int = 120
    height: int | None = None
    filter: str = ""
    typing: bool = False
    sort: str = "name"
    top: int = 0
    colour: bool = False


def frame(
    server: str,
    nodes: Sequence[NodeRow],
    pods: Sequence[PodRow],
    events: Sequence[Event],
    look: Look,
    trouble: str = "",
    now_s: float = 0.0,
) -> list[str]:
    """Return the lines of one frame.

    Args:
        server: Of the cluster.
        nodes: All.
        pods: All.
        events: The latest last.
        look: How.
        trouble: Why the cluster is not followed, "" when it is.
        now_s: Epoch seconds, for the rate of a run.
    """
    wanted = [pod for pod in pods if _matches(pod, look.filter)]
    head = [_title(server, nodes, wanted, look), *_run_line(wanted, look, now_s)]
    if trouble:
        head.append(_paint(_fit(f"not followed: {printable(trouble)}", look.width), _WARNING, look))
    # On a low terminal, nodes come before events.
    count = _EVENTS if look.height is None else min(_EVENTS, look.height // 4)
    tail = [_event(event, look) for event in events[-count:]] if count else []
    if tail:
        tail.insert(0, _fit("─ events " + "─" * look.width, look.width))
    if look.height is not None:
        prompt = f"filter: {printable(look.filter)}{'▏' if look.typing else ''}" if look.typing or look.filter else HELP
        tail.append(_fit(prompt, look.width))
    body = _body(nodes, wanted, look)
    if look.height is not None:
        room = max(look.height - len(head) - len(tail), 1)
        top = max(min(look.top, len(body) - room), 0)
        hidden = len(body) - top - room
        body = body[top : top + room]
        if hidden > 0:
            body[-1] = _fit(f"… {hidden + 1} more lines", look.width)
        body += [""] * (room - len(body))
        # What is pressed stands in the last line, whatever has no room above.
        return [*[*head, *body, *tail[:-1]][: max(look.height - 1, 0)], tail[-1]]
    return [*head, *body, *tail]


def _matches(pod: PodRow, text: str) -> bool:
    return not text or text in pod.key or text in pod.node or any(text in f"{k}={v}" for k, v in pod.labels.items())


def _title(server: str, nodes: Sequence[NodeRow], pods: Sequence[PodRow], look: Look) -> str:
    counts = Counter(pod.state for pod in pods)
    ready = sum(node.ready for node in nodes)
    plain = f"{printable(server)} · {ready}/{len(nodes)} nodes ready · {len(pods)} pods"
    states = [(f"{_LOOKS[s][0]} {counts[s]} {s.name.lower()}", s) for s in State if counts[s]]
    line, used = _fit(plain, look.width), min(len(plain), look.width)
    for text, state in states:
        if used + len(text) + 2 > look.width:
            break
        line += "  " + _paint(text, _LOOKS[state][1], look)
        used += len(text) + 2
    return line


def _run_line(pods: Sequence[PodRow], look: Look, now_s: float) -> list[str]:
    """Return the line of the load run whose pods came last, none without one."""
    made = [pod for pod in pods if "kube-burner.io/uuid" in pod.labels]
    if not made:
        return []
    latest = max(made, key=lambda pod: pod.created_s).labels["kube-burner.io/uuid"]
    own = [pod for pod in made if pod.labels["kube-burner.io/uuid"] == latest]
    jobs = sorted({pod.labels.get("kube-burner.io/job", "") for pod in own} - {""})
    ready = sum(pod.state is State.READY for pod in own)
    recent = sum(0 <= now_s - pod.created_s < 10 for pod in own)
    text = f"run {latest} · {', '.join(jobs) or 'no job'} · {ready}/{len(own)} ready · {recent / 10:.1f} pods/s in 10 s"
    return [_fit(printable(text), look.width)]


def _body(nodes: Sequence[NodeRow], pods: Sequence[PodRow], look: Look) -> list[str]:
    by_node: dict[str, list[PodRow]] = {}
    for pod in pods:
        by_node.setdefault(pod.node, []).append(pod)
    shown = [node for node in nodes if not look.filter or look.filter in node.name or node.name in by_node]
    keys: Mapping[str, Callable[[NodeRow], Any]] = {
        "name": lambda node: (not node.control_plane, node.name),
        "pods": lambda node: (-len(by_node.get(node.name, ())), node.name),
        "cpu": lambda node: (-_share(_asked(by_node, node, "cpu_milli"), node.cpu_milli), node.name),
        "memory": lambda node: (-_share(_asked(by_node, node, "memory_bytes"), node.memory_bytes), node.name),
    }
    lines = []
    known = {node.name for node in nodes}
    homeless = [pod for name, there in by_node.items() if name not in known for pod in there]
    if homeless:
        why = next((pod.why for pod in homeless if pod.why), "")
        lines.append(_fit(f"{NO_NODE.ljust(_NAME)} {len(homeless)} pods  {printable(why)}", look.width))
        lines += _squares(homeless, look)
    for node in sorted(shown, key=keys[look.sort]):
        lines += _node(node, by_node, look)
    return lines


def _asked(by_node: Mapping[str, Sequence[PodRow]], node: NodeRow, what: str) -> int:
    live = [pod for pod in by_node.get(node.name, ()) if pod.state not in {State.SUCCEEDED, State.FAILED}]
    return sum(getattr(pod, what) for pod in live)


def _share(used: float, of: float) -> float:
    return used / of if of else 0.0


def _node(node: NodeRow, by_node: Mapping[str, list[PodRow]], look: Look) -> list[str]:
    pods = by_node.get(node.name, [])
    live = [pod for pod in pods if pod.state not in {State.SUCCEEDED, State.FAILED}]
    name = printable(node.name)
    cells_of_bar = _LONG if look.width >= _WIDE else _SHORT
    cells = [name.ljust(_NAME) if len(name) <= _NAME else f"{name[: _NAME - 1]}…"]
    for label, used, of in (
        ("cpu", _asked(by_node, node, "cpu_milli"), node.cpu_milli),
        ("mem", _asked(by_node, node, "memory_bytes"), node.memory_bytes),
    ):
        cells.append(f"{label} {_bar(used, of, cells_of_bar)} {_share(used, of):4.0%}")
    cells.append(f"pods {_bar(len(live), node.max_pods, cells_of_bar)} {len(live)}/{node.max_pods}")
    if node.addresses:
        addressed = sum(pod.addressed for pod in live)
        cells.append(f"ips {_bar(addressed, node.addresses, cells_of_bar)} {addressed}/{node.addresses}")
    line = _fit("  ".join(cells), look.width)
    state = "" if node.ready else " NotReady"
    state += " cordoned" if node.unschedulable else ""
    if state:
        line = _paint(
            _fit(f"{line}{state}" + (f": {printable(node.why)}" if node.why else ""), look.width), _WARNING, look
        )
    return [line, *_squares(pods, look)]


def _bar(used: float, of: float, cells: int) -> str:
    """Return a bar of so many cells; what is not nothing shows."""
    full = min(round(cells * _share(used, of)), cells)
    if used and not full:
        full = 1
    return "█" * full + "░" * (cells - full)


def _squares(pods: Sequence[PodRow], look: Look) -> list[str]:
    """Return pods as squares, by state; those that have no room are a number at the end."""
    if not pods:
        return []
    across = max(look.width - 4, 1)
    room = across * _ROWS
    # Trouble first: it must not be what is cut.
    order = sorted(pods, key=lambda pod: (-int(pod.state in {State.TROUBLE, State.FAILED}), pod.state, pod.key))
    more = f" +{len(order) - room + 12}" if len(order) > room else ""
    shown = order[: room - 12] if more else order
    lines = []
    for start in range(0, len(shown), across):
        line, last = "", None
        for pod in shown[start : start + across]:
            shape, colour = _LOOKS[pod.state]
            if look.colour and pod.state is not last:
                line += f"\x1b[38;5;{colour}m"
                last = pod.state
            line += shape
        lines.append("  " + line + ("\x1b[0m" if look.colour else ""))
    lines[-1] += more
    return lines


def _event(event: Event, look: Look) -> str:
    text = f"{event.time[11:19]} {event.reason} {event.about}: {event.message}"
    line = _fit(printable(text), look.width)
    return _paint(line, _WARNING, look) if event.warning else line


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _paint(text: str, colour: int, look: Look) -> str:
    return f"\x1b[38;5;{colour}m{text}\x1b[0m" if look.colour else text
