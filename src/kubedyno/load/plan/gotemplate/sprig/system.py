"""Sprig on paths, and on what it may ask the machine: the environment, and names of hosts."""

import os
import posixpath
import re
import socket
from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.sprig.values import RANDOM, text_of


def _expanded(text: Any) -> str:
    """Put in environment variables, $A or ${A}; those that are not set are empty."""
    return re.sub(
        r"\$(?:\{([^}]*)\}|([A-Za-z0-9_]+))",
        lambda m: os.environ.get(m[1] if m[2] is None else m[2], ""),
        text_of(text),
    )


def _address(name: Any) -> str:
    """Return one of the addresses that a name resolves to."""
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(text_of(name) or None, None)}) if name else []
    except OSError:
        found = []
    if not found:
        raise FunctionError("invalid argument to Intn")
    return RANDOM.choice(found)


def _extension(path: Any) -> str:
    name = text_of(path).rpartition("/")[2]
    return name[name.rindex(".") :] if "." in name else ""


def _clean(path: Any) -> str:
    found = posixpath.normpath(text_of(path)) if path else "."
    return found[1:] if found.startswith("//") else found


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "base": lambda t: posixpath.basename(text_of(t).rstrip("/")) or ("/" if t else "."),
    "dir": lambda t: posixpath.dirname(text_of(t)) or ".",
    "ext": _extension,
    "clean": _clean,
    "isAbs": lambda t: text_of(t).startswith("/"),
    "osBase": lambda t: posixpath.basename(text_of(t).rstrip("/")) or ("/" if t else "."),
    "osDir": lambda t: posixpath.dirname(text_of(t)) or ".",
    "osExt": _extension,
    "osClean": _clean,
    "osIsAbs": lambda t: text_of(t).startswith("/"),
    "env": lambda t: os.environ.get(text_of(t), ""),
    "expandenv": _expanded,
    "getHostByName": _address,
    "hello": lambda: "Hello!",
}
