"""The replay of a run: pods as squares on their nodes, a slider over time; documents in, HTML, data and a script out.

Two bytes a moment a pod, so that 100,000 pods are a page of 1.5 MB; more pods than `MAX_SQUARES` are drawn by every n-th.
"""

import base64
import hashlib
import json
import sys
from array import array
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from kubedyno.documents.circumstances import NEVER, PodsDocument

MAX_SQUARES = 150_000
# The last step of a column is "never".
_STEPS = 65_534
_NO_NODE = 65_535


@cache
def script() -> str:
    """Return the script that every replay of a page shares."""
    return resources.files("kubedyno.report").joinpath("replay.js").read_text(encoding="utf-8")


def policy() -> str:
    """Return the source of this one script, for the page's Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()}'"


def box() -> str:
    """Return the place of one replay in a page."""
    return (
        "<div class=replay><button type=button>play</button> "
        '<input type=range min=0 max=1000 value=1000 aria-label="time of the run"> <output></output>'
        '<div class="small key"><i class=ready></i>ready <i class=starting></i>starting <i class=pending></i>pending; '
        "a box is a node: point at it for its name</div>"
        '<canvas role=img aria-label="pods on nodes at the chosen time"></canvas></div>'
    )


def data_of(documents: Sequence[PodsDocument]) -> dict[str, Any]:
    """Return what the script draws of one run."""
    names = sorted({name for document in documents for name in document.nodes})[:_NO_NODE]
    numbers = {name: number for number, name in enumerate(names)}
    total = sum(len(document.node) for document in documents)
    every = max(-(-total // MAX_SQUARES), 1)
    last = max((max((*d.created, *d.scheduled, *d.ready, *d.gone), default=0) for d in documents), default=0)
    span_ms = max(last, 1)
    columns: list[array[int]] = [array("H") for _ in range(5)]
    for document in documents:
        mapped = [numbers.get(name, _NO_NODE) for name in document.nodes]
        columns[0].extend(_NO_NODE if number < 0 else mapped[number] for number in document.node[::every])
        moments = (document.created, document.scheduled, document.ready, document.gone)
        for column, values in zip(columns[1:], moments, strict=True):
            column.extend(_step(value, span_ms) for value in values[::every])
    raw = array("H")
    for column in columns:
        raw.extend(column)
    return {
        "nodes": names,
        "seconds": span_ms / 1000,
        "every": every,
        "count": len(columns[0]),
        "columns": base64.b64encode(_little(raw)).decode(),
    }


def _step(value: int, span_ms: int) -> int:
    return _NO_NODE if value == NEVER else min(max(value, 0) * _STEPS // span_ms, _STEPS)


def _little(values: "array[int]") -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def data_block(found: Sequence[dict[str, Any]]) -> str:
    """Return the data of all replays of a page; no text in it can end the block."""
    text = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return f'<script type="application/json" id=replay-data>{text}</script><script>{script()}</script>'
