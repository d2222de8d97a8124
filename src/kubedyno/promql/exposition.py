"""The text of a /metrics page: Prometheus' format 0.0.4 and OpenMetrics 1.0, read line by line.

Each sample comes with its series as written (`name{labels}`), so that a recorder that meets the same page again looks
it up instead of taking it apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubedyno.promql.errors import ExpositionError
from kubedyno.promql.rows import NAME, Labels

OPENMETRICS = "application/openmetrics-text"
ACCEPT = f"{OPENMETRICS};version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8,*/*;q=0.1"
# A sample: its series as written, its value, and what follows.
_SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*(?:[ \t]*\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?)[ \t]*[ \t](\S+)(?:[ \t]+(.*))?\Z'
)
_SAMPLE_TIGHT = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})(\S+)(?:[ \t]+(.*))?\Z')
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|\Z)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F.]+(?:[pP][+-]?\d+)?|inf(?:inity)?|nan)\Z",
    re.IGNORECASE,
)
_TYPES = frozenset(
    {
        "counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset", "gaugehistogram",
    }
)  # fmt: skip
MAX_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a page.

    Attributes:
        series: Name and labels as written; `labels_of` takes it apart.
        time_ms: None when the page says none.
    """

    series: str
    value: float
    time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class About:
    """A line about a metric: what is one of "type", "help", "unit"."""

    metric: str
    what: str
    text: str


def labels_of(series: str) -> Labels:
    """Return the labels of a series as written, its name among them.

    Raises:
        ExpositionError: It cannot be read.
    """
    name, brace, rest = series.partition("{")
    labels = {NAME: name.rstrip(" \t")}
    if not brace:
        return labels
    inner = rest[:-1].strip(" \t")
    at = 0
    while at < len(inner):
        found = _LABEL.match(inner, at)
        if found is None:
            raise ExpositionError(f"malformed labels: {series[:200]}")
        label, value = found[1], found[2]
        if label in labels:
            raise ExpositionError(f"label {label} is there twice: {series[:200]}")
        # A label that is empty is none.
        if value:
            labels[label] = _ESCAPE.sub(_unescaped, value) if "\\" in value else value
        at = found.end()
    return labels


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", '"': '"', "\\": "\\"}.get(found[1], found[0])


def number_of(text: str) -> float:
    """Return the float of Go's text of one.

    Raises:
        ValueError: It is none.
    """
    if _NUMBER.match(text) is None:
        raise ValueError(f"not a number: {text[:40]}")
    if "x" in text or "X" in text:
        return float.fromhex(text)
    return float(text)


def read(text: str, *, openmetrics: bool = False) -> Iterator[Sample | About]:
    """Yield what a page says, in its order.

    Args:
        text: The page.
        openmetrics: It is of that format: times in seconds, exemplars, `# EOF` at its end.

    Raises:
        ExpositionError: A line cannot be read; names it by number.
    """
    ended = False
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")  # noqa: PLW2901 - the same line
        if not line or line.isspace():
            continue
        if ended:
            raise ExpositionError(f"line {number}: something follows # EOF")
        if len(line) > MAX_LINE:
            raise ExpositionError(f"line {number}: longer than {MAX_LINE} characters")
        if line[0] == "#":
            if line == "# EOF":
                ended = openmetrics
                continue
            about = _about(line)
            if about is not None:
                if about.what == "type" and about.text not in _TYPES:
                    raise ExpositionError(f"line {number}: no such type: {about.text[:40]!r}")
                yield about
            continue
        yield _sample(line, number, openmetrics=openmetrics)
    if openmetrics and not ended:
        raise ExpositionError("the page does not end with # EOF: it is cut off")


def _about(line: str) -> About | None:
    words = line.split(None, 3)
    if len(words) >= 3 and words[0] == "#" and words[1] in {"HELP", "TYPE", "UNIT"}:
        text = words[3] if len(words) > 3 else ""
        if words[1] == "HELP" and "\\" in text:
            text = _ESCAPE.sub(_unescaped, text)
        return About(words[2], words[1].lower(), text.strip() if words[1] != "HELP" else text)
    return None


def _sample(line: str, number: int, *, openmetrics: bool) -> Sample:
    stripped = line.strip(" \t")
    found = _SAMPLE.match(stripped) or _SAMPLE_TIGHT.match(stripped)
    if found is None:
        raise ExpositionError(f"line {number}: malformed: {stripped[:200]}")
    series, value, rest = found.groups()
    try:
        time_ms: int | None = None
        if rest:
            if openmetrics:
                rest = rest.partition("#")[0].strip()
            if rest:
                time_ms = round(number_of(rest) * 1000) if openmetrics else int(rest)
        return Sample(series, number_of(value), time_ms)
    except (ValueError, OverflowError) as error:
        raise ExpositionError(f"line {number}: malformed: {stripped[:200]}") from error
