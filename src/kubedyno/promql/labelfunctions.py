"""label_replace and label_join."""

import re
from collections.abc import Iterable, Sequence

from kubedyno.promql.errors import BadQueryError, QueryError
from kubedyno.promql.matching import pattern_of
from kubedyno.promql.rows import Row

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
# Go's templates: the longest name after the dollar sign, or one in braces.
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def replaced(rows: Iterable[Row], target: str, replacement: str, source: str, pattern: str) -> list[Row]:
    """Return rows whose label `target` comes from what `pattern` found in `source`; others as they are.

    Raises:
        QueryError: The pattern or the label's name is wrong.
    """
    try:
        compiled = pattern_of(pattern)
    except BadQueryError as error:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}") from error
    if _LABEL_NAME.match(target) is None:
        raise QueryError(f"invalid destination label name in label_replace(): {target}")
    memo: dict[str, str | None] = {}
    result: list[Row] = []
    for row in rows:
        value = row.labels.get(source, "")
        if value not in memo:
            found = compiled.fullmatch(value)
            memo[value] = None if found is None else _expanded(replacement, found)
        text = memo[value]
        if text is None:
            result.append(row)
            continue
        labels = row.labels.copy()
        labels.pop(target, None)
        if text:
            labels[target] = text
        result.append(Row(labels, row.values))
    return result


def _expanded(template: str, found: re.Match[str]) -> str:
    def reference(part: re.Match[str]) -> str:
        if part[1]:
            return "$"
        name = part[2] or part[3]
        try:
            return found[int(name) if name.isdigit() else name] or ""
        except (IndexError, re.error):
            # Go takes a group that is not there for an empty one.
            return ""

    return _REFERENCE.sub(reference, template)


def joined(rows: Iterable[Row], target: str, separator: str, sources: Sequence[str]) -> list[Row]:
    """Return rows whose label `target` is the values of others, joined.

    Raises:
        QueryError: A label's name is wrong.
    """
    if _LABEL_NAME.match(target) is None:
        raise QueryError(f"invalid destination label name in label_join(): {target}")
    for source in sources:
        if _LABEL_NAME.match(source) is None:
            raise QueryError(f"invalid source label name in label_join(): {source}")
    result: list[Row] = []
    for row in rows:
        text = separator.join(row.labels.get(source, "") for source in sources)
        labels = row.labels.copy()
        labels.pop(target, None)
        if text:
            labels[target] = text
        result.append(Row(labels, row.values))
    return result
