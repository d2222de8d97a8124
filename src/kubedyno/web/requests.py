"""What an API server has answered, from its own metrics: a page of text in, two counts and their rates out.

Beside a run that is not ours nobody says what was asked for; what was done, and refused, the server counts for all clients.
"""

import re
from dataclasses import dataclass

_COUNTED = re.compile(rb"^apiserver_request_total\{([^\n]*)\} ([0-9.e+]+)", re.MULTILINE)
_WRITES = re.compile(rb'verb="(?:POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION|CREATE|UPDATE)"')
_REFUSED = b'code="429"'


@dataclass(frozen=True, slots=True)
class Requests:
    """Answers of an API server since it started.

    Attributes:
        at_s: Monotonic seconds at which it said so.
        writes: To requests that write, whatever their code.
        refused: With 429, to any request.
    """

    at_s: float
    writes: float
    refused: float


def requests_of(page: bytes, at_s: float) -> Requests | None:
    """Return what a page of metrics counts; None: it does not count requests."""
    writes = refused = 0.0
    found = False
    for labels, value in _COUNTED.findall(page):
        found = True
        if _WRITES.search(labels):
            writes += float(value)
        if _REFUSED in labels:
            refused += float(value)
    return Requests(at_s, writes, refused) if found else None


def since(before: Requests, now: Requests) -> list[float]:
    """Return [writes a second, 429s, seconds] between two pages; a server that began anew counts from 0."""
    span_s = max(now.at_s - before.at_s, 1e-3)
    grown = [
        new - old if new >= old else new for old, new in ((before.writes, now.writes), (before.refused, now.refused))
    ]
    return [round(grown[0] / span_s, 2), round(grown[1]), round(span_s, 1)]
