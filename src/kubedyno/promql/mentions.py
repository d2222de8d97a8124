"""Which metrics do queries speak of? Profiles, alerts and dashboards say what is worth recording.

Read from the words of a query, not from its syntax tree: templates and dashboard variables make many of them no PromQL
until they are filled in. A word too many costs nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.matching import Test, test_of

# Under which keys profiles, rules and dashboards have queries.
_KEYS = frozenset({"query", "expr", "definition"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')
_NAME_MATCHER = re.compile(r'__name__\s*(=~|=)\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`)')
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# A histogram's or summary's parts stand for the whole.
_PARTS = ("_bucket", "_count", "_sum", "_total")


def queries_in(document: Any) -> Iterator[str]:
    """Yield the queries of a parsed profile, alert file, rule file or dashboard."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if isinstance(value, str):
                    if key in _KEYS:
                        yield value
                else:
                    waiting.append(value)
        elif isinstance(node, list):
            waiting += node


def wanted(queries: Iterable[str]) -> Callable[[str], bool]:
    """Return whether some query speaks of a metric, as a function of its name."""
    words: set[str] = set()
    tests: list[Test] = []
    for query in queries:
        for op, text in _NAME_MATCHER.findall(query):
            value = text[1:-1]
            if op == "=":
                words.add(value)
                continue
            try:
                tests.append(test_of(value))
            except BadQueryError:
                # With variables in it: better all than none.
                tests.append(lambda _name: True)
        words.update(_WORD.findall(_STRING.sub('""', query)))
    known: dict[str, bool] = {}

    def is_wanted(name: str) -> bool:
        answer = known.get(name)
        if answer is None:
            base = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)
            answer = known[name] = name in words or base in words or any(test(name) for test in tests)
        return answer

    return is_wanted
