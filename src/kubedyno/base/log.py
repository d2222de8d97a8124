"""Loggers by package name. Handlers are set by a composition root, never by a library module."""

import logging


def logger(name: str) -> logging.Logger:
    """Return the logger of a module; pass `__name__`."""
    return logging.getLogger(name)
