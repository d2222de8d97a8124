"""All of Sprig's functions by their names. An unknown one is an error at parse time, with its line."""

from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.sprig import (
    crypto,
    dates,
    dictionaries,
    encoding,
    lists,
    logic,
    mathematics,
    regex,
    strings,
    system,
    urls,
    versions,
)

_CHAPTERS = (
    strings, mathematics, lists, dictionaries, logic, encoding, regex, dates, versions, urls, crypto, system,
)  # fmt: skip
# What fails is an error here as it is in the original's functions with "must".
_MUST = (
    "first last rest initial append push prepend reverse uniq without has compact chunk regexFind regexFindAll "
    "regexReplaceAll regexReplaceAllLiteral regexSplit merge mergeOverwrite deepCopy"
)

SPRIG: dict[str, Callable[..., Any]] = {
    name: function for chapter in _CHAPTERS for name, function in chapter.FUNCTIONS.items()
}
SPRIG |= {f"must{name[0].upper()}{name[1:]}": SPRIG[name] for name in _MUST.split()}
