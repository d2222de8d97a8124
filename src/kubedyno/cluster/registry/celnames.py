"""Names of members as expressions have them: what CEL cannot name is written otherwise (cel.Escape)."""

import re

_KEYWORDS = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED = re.compile(r"__|[.\-/]")
_NAMED = re.compile(r"[A-Za-z_.][A-Za-z0-9_./-]*")


def escaped(name: str) -> str:
    """Return a member's name as expressions have it, "" when they cannot name it."""
    if name in _KEYWORDS:
        return f"__{name}__"
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], name) if _NAMED.fullmatch(name) else ""
