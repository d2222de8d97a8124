"""What is wrong with ports: their numbers, and their names."""

import re
from typing import Any

from kubedyno.kube.status import Cause, invalid_value

_PORT_TEXT = "must be between 1 and 65535, inclusive"


def port_causes(path: str, port: int) -> list[Cause]:
    """Return what is wrong with a port's number."""
    return [] if 1 <= port <= 65535 else [invalid_value(path, port, _PORT_TEXT)]


def port_name_problems(name: str) -> list[str]:
    """Return what is wrong with a port's name (IsValidPortName)."""
    problems = []
    if len(name) > 15:
        problems.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def named_port_causes(port: Any, path: str) -> list[Cause]:
    """Return what is wrong with a port that is a number, or the name of one."""
    if isinstance(port, str):
        return [invalid_value(path, port, p) for p in port_name_problems(port)]
    return port_causes(path, port or 0)
