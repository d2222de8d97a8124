"""Loggers by package name, and the line format of a run's log.

Handlers are set by a composition root, never by a library module.
"""

import logging
from datetime import datetime
from pathlib import Path

TRACE = 5
# logrus' names, as `--log-level` takes them.
LEVELS = {
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_NAMES = {logging.CRITICAL: "fatal", logging.WARNING: "warning", TRACE: "trace"}


def logger(name: str) -> logging.Logger:
    """Return the logger of a module; pass `__name__`."""
    return logging.getLogger(name)


def _quoted(text: str) -> str:
    """Return Go's %q of a text for the characters that occur in messages."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(
        {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in escaped
    )


class LogrusFormatter(logging.Formatter):
    """kube-burner's line: `time="2006-01-02 15:04:05" level=info msg="…" file="create.py:85"` (local time)."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        level = _NAMES.get(record.levelno, record.levelname.lower())
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        return (
            f'time="{stamp}" level={level} msg="{_quoted(message)}" file="{Path(record.pathname).name}:{record.lineno}"'
        )
