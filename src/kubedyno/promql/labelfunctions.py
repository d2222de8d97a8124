"""label_replace and label_join."""

import re
from collections.abc import Iterable, Sequence

from kubedyno.promql.errors import BadQueryError, QueryError
from kubedyno.promql.limits import Budget
from kubedyno.promql.matching import MAX_VALUE, matched, pattern_of
from kubedyno.promql.rows import Row

# So many characters of a new value count as a sample.
_OF_A_SAMPLE = 8
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
# Go's templates: the longest name after the dollar sign, or one in braces.
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def replaced(
    rows: Iterable[Row], target: str, replacement: str, source: str, pattern: str, budget: Budget
) -> list[Row]:
    """Return rows whose label `target` comes from what `pattern` found in `source`; others as they are.

    Raises:
        QueryError: The pattern or the label's name is wrong, or a value becomes too long.
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
            budget.spend(0)
            found = matched(pattern, compiled, value)
            memo[value] = None if found is None else _expanded(replacement, found)
        text = memo[value]
        if text is None:
            result.append(row)
            continue
        result.append(_labelled(row, target, text, budget))
    return result


def _labelled(row: Row, target: str, text: str, budget: Budget) -> Row:
    budget.spend(len(text) // _OF_A_SAMPLE)
    labels = row.labels.copy()
    labels.pop(target, None)
    if text:
        labels[target] = text
    return Row(labels, row.values)


def _check_length(length: int) -> None:
    if length > MAX_VALUE:
        raise QueryError(f"a label's value of {length} characters: at most {MAX_VALUE} are taken")


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

    # Before it is made: 32,000 references to a megabyte are 32 GB.
    _check_length(len(template) + sum(len(reference(part)) for part in _REFERENCE.finditer(template)))
    return _REFERENCE.sub(reference, template)


def joined(rows: Iterable[Row], target: str, separator: str, sources: Sequence[str], budget: Budget) -> list[Row]:
    """Return rows whose label `target` is the values of others, joined.

    Raises:
        QueryError: A label's name is wrong, or a value becomes too long.
    """
    if _LABEL_NAME.match(target) is None:
        raise QueryError(f"invalid destination label name in label_join(): {target}")
    for source in sources:
        if _LABEL_NAME.match(source) is None:
            raise QueryError(f"invalid source label name in label_join(): {source}")
    result: list[Row] = []
    for row in rows:
        values = [row.labels.get(source, "") for source in sources]
        _check_length(sum(map(len, values)) + len(separator) * len(values))
        result.append(_labelled(row, target, separator.join(values), budget))
    return result
