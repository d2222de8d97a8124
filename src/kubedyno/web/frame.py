"""A cluster as lines of a terminal: what is known in, one frame out. Pure.

A state has a shape as well as a colour, so that a frame is read without colours, too. Every text is the cluster's, and
loses what is not printable before it is shown.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base.terminal import columns, fitted, printable
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
_LONGEST_NAME, _SHORTEST_NAME = 24, 8
# Cells of a bar, the first for which there is room beside the names; and what else a line of bars takes: words, figures, gaps.
_CELLS = (10, 4, 2, 0)
_BARS = 4
_WORDS, _MORE_WORDS = 47, 10
# So many rows of squares a node; what does not fit is a number.
_ROWS, _NUMBER = 3, 12
_EVENTS = 6
NO_NODE = "(no node)"
_HELP = "q quit · / filter · s sort ({}) · ↑↓ scroll"
_USED = "cpu, mem: █ used (metrics.k8s.io) / ▒ requested"
_REQUESTED = "cpu, mem: █ requested (no metrics.k8s.io)"


# Thousandths of a core and bytes by node.
Uses = Mapping[str, tuple[int, int]]


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
    uses: Uses | None = None,
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
        uses: What nodes use; None where nobody says it: bars are what is requested, then.
    """
    wanted = [pod for pod in pods if _matches(pod, look.filter)]
    head = [_title(server, nodes, wanted, look), *_run_line(wanted, look, now_s)]
    if trouble:
        head.append(_paint(fitted(f"not followed: {printable(trouble)}", look.width), _WARNING, look))
    # On a low terminal, nodes come before events.
    count = _EVENTS if look.height is None else min(_EVENTS, look.height // 4)
    tail = [_event(event, look) for event in events[-count:]] if count else []
    if tail:
        tail.insert(0, "─ events ".ljust(look.width, "─")[: look.width])
    legend = _REQUESTED if uses is None else _USED
    if look.height is None:
        tail.append(fitted(legend, look.width))
    elif look.typing or look.filter:
        tail.append(fitted(f"filter: {printable(look.filter)}{'▏' if look.typing else ''}", look.width))
    else:
        tail.append(fitted(f"{_HELP.format(look.sort)} · {legend}", look.width))
    body = _body(nodes, wanted, look, uses)
    if look.height is not None:
        room = max(look.height - len(head) - len(tail), 1)
        top = max(min(look.top, len(body) - room), 0)
        hidden = len(body) - top - room
        body = body[top : top + room]
        if hidden > 0:
            body[-1] = fitted(f"… {hidden + 1} more lines", look.width)
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
    line = fitted(plain, look.width)
    used = columns(line)
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
    return [fitted(printable(text), look.width)]


def _body(nodes: Sequence[NodeRow], pods: Sequence[PodRow], look: Look, uses: Uses | None) -> list[str]:
    by_node: dict[str, list[PodRow]] = {}
    for pod in pods:
        by_node.setdefault(pod.node, []).append(pod)
    shown = [node for node in nodes if not look.filter or look.filter in node.name or node.name in by_node]
    keys: Mapping[str, Callable[[NodeRow], Any]] = {
        "name": lambda node: (not node.control_plane, node.name),
        "pods": lambda node: (-len(by_node.get(node.name, ())), node.name),
        "cpu": lambda node: (-_fullest(node, by_node, uses)[0], node.name),
        "memory": lambda node: (-_fullest(node, by_node, uses)[1], node.name),
    }
    name, cells = _layout(shown, look.width, with_uses=uses is not None)
    lines = []
    known = {node.name for node in nodes}
    homeless = [pod for name, there in by_node.items() if name not in known for pod in there]
    if homeless:
        why = next((pod.why for pod in homeless if pod.why), "")
        lines.append(fitted(f"{NO_NODE.ljust(name)}  {len(homeless)} pods  {printable(why)}", look.width))
        lines += _squares(homeless, look)
    for node in sorted(shown, key=keys[look.sort]):
        lines.append(_node(node, _live(node, by_node), uses, (name, cells), look))
        lines += _squares(by_node.get(node.name, ()), look)
    return lines


def _layout(nodes: Sequence[NodeRow], width: int, *, with_uses: bool) -> tuple[int, int]:
    """Return columns of the names and cells of a bar: names are cut after bars have gone."""
    longest = min(max((columns(printable(node.name)) for node in nodes), default=0), _LONGEST_NAME)
    longest = max(longest, len(NO_NODE))
    words = _WORDS + (_MORE_WORDS if with_uses else 0)
    room = 0
    for cells in _CELLS:
        room = width - words - _BARS * (cells + 1 if cells else 0)
        if room >= longest:
            return longest, cells
    return max(min(room, longest), _SHORTEST_NAME), 0


def _live(node: NodeRow, by_node: Mapping[str, Sequence[PodRow]]) -> list[PodRow]:
    """Return the pods that take something of a node."""
    return [pod for pod in by_node.get(node.name, ()) if pod.state not in {State.SUCCEEDED, State.FAILED}]


def _requested(pods: Sequence[PodRow]) -> tuple[int, int]:
    return sum(pod.cpu_milli for pod in pods), sum(pod.memory_bytes for pod in pods)


def _fullest(node: NodeRow, by_node: Mapping[str, Sequence[PodRow]], uses: Uses | None) -> tuple[float, float]:
    """Return the shares of CPU and memory by which nodes are sorted: what is used where it is known, else requested."""
    found = (uses or {}).get(node.name) or _requested(_live(node, by_node))
    return _share(found[0], node.cpu_milli), _share(found[1], node.memory_bytes)


def _share(used: float, of: float) -> float:
    return used / of if of else 0.0


def _node(node: NodeRow, live: Sequence[PodRow], uses: Uses | None, layout: tuple[int, int], look: Look) -> str:
    width, cells = layout
    name = fitted(printable(node.name), width)
    parts = [name + " " * (width - columns(name))]
    used = None if uses is None else uses.get(node.name)
    of = (node.cpu_milli, node.memory_bytes)
    for at, (label, asked) in enumerate(zip(("cpu", "mem"), _requested(live), strict=True)):
        share = _share(asked, of[at])
        if uses is None:
            parts.append(f"{label} {_bar(share, cells)}{share:4.0%}")
        else:
            use = 0.0 if used is None else _share(used[at], of[at])
            told = "?" if used is None else f"{use:.0%}"
            parts.append(f"{label} {_bar(use, cells, share)}{told:>4}/{f'{share:.0%}':<4}")
    parts.append(f"pods {_bar(_share(len(live), node.max_pods), cells)}{f'{len(live)}/{node.max_pods}':<7}")
    if node.addresses:
        addressed = sum(pod.addressed for pod in live)
        parts.append(f"ips {_bar(_share(addressed, node.addresses), cells)}{addressed}/{node.addresses}")
    line = fitted("  ".join(parts).rstrip(), look.width)
    state = "" if node.ready else " NotReady"
    state += " cordoned" if node.unschedulable else ""
    if state:
        line = _paint(
            fitted(f"{line}{state}" + (f": {printable(node.why)}" if node.why else ""), look.width), _WARNING, look
        )
    return line


def _bar(share: float, cells: int, asked: float = 0.0) -> str:
    """Return a bar of so many cells and a space, "" of none; what is not nothing shows, and what is asked for beyond it."""
    if not cells:
        return ""
    full, reached = (min(max(round(cells * part), 1 if part > 0 else 0), cells) for part in (share, asked))
    return f"{'█' * full}{'▒' * max(reached - full, 0)}{'░' * (cells - max(full, reached))} "


def _squares(pods: Sequence[PodRow], look: Look) -> list[str]:
    """Return pods as squares, by state; those that have no room are a number at the end."""
    if not pods:
        return []
    across = max(look.width - 4, 1)
    # The number at the end takes so many columns; where there is no room for it, there is none for squares.
    room = across * _ROWS if across > _NUMBER else 0
    # Trouble first: it must not be what is cut.
    order = sorted(pods, key=lambda pod: (-int(pod.state in {State.TROUBLE, State.FAILED}), pod.state, pod.key))
    shown = order if len(order) <= room else order[: max(room - _NUMBER, 0)]
    if not shown:
        return [fitted(f"  +{len(order)}", look.width)]
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
    if len(shown) < len(order):
        lines[-1] += f" +{len(order) - len(shown)}"
    return lines


def _event(event: Event, look: Look) -> str:
    text = f"{event.time[11:19]} {event.reason} {event.about}: {event.message}"
    line = fitted(printable(text), look.width)
    return _paint(line, _WARNING, look) if event.warning else line


def _paint(text: str, colour: int, look: Look) -> str:
    return f"\x1b[38;5;{colour}m{text}\x1b[0m" if look.colour else text
