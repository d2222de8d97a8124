"""What a container's program does, as far as its command says it plainly: how long it runs, how it ends."""

import re
from math import inf
from typing import Any

from kubedyno.cluster.kubelet.images import Image, image_of

SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SLEEP = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)\Z")
_EXIT = re.compile(r"exit(?:\s+(\d+))?\Z")
# Programs that end at once, with their exit codes.
_INSTANT = {"true": 0, "false": 1, "echo": 0, "date": 0, ":": 0, "printf": 0, "hostname": 0, "env": 0}
# Images whose own command is a shell, which ends at once without a terminal; and one that prints and ends.
ENDING_IMAGES = frozenset({"busybox", "alpine", "ubuntu", "debian", "fedora", "hello-world"})
# As process 1 these don't act on SIGTERM unless they say so: a shell, sleep and pause of older images.
IGNORE_TERM = frozenset({"sleep", *SHELLS})


def seconds(text: str) -> float:
    """Return the seconds of a text like "30", "1.5m"; inf for any other."""
    match = _SLEEP.match(text.strip())
    return float(match[1]) * _UNITS_S[match[2]] if match else inf


def behaviour(container: dict[str, Any], image: Image) -> tuple[float, int]:
    """Return (how long a container's program runs, exit code)."""
    argv = [*container.get("command", ()), *container.get("args", ())]
    last = image.repository.rpartition("/")[2]
    if not argv:
        # A shell that somebody may type into waits for that.
        waits = container.get("stdin") and last != "hello-world"
        return (0.0, 0) if last in ENDING_IMAGES and not waits else (inf, 0)
    if not container.get("command") and last not in ENDING_IMAGES:
        # Arguments of an entrypoint that isn't known, unless the image is named after it.
        return (command([last, *argv]) if last == "sleep" else None) or (inf, 0)
    program = argv[0].rpartition("/")[2]
    if program in SHELLS:
        if len(argv) > 2 and argv[1].startswith("-") and argv[1].endswith("c"):
            return script(argv[2])
        return inf, 0
    return command(argv) or (inf, 0)


def reads_commands(container: dict[str, Any]) -> bool:
    """Say whether a container's program is a shell that waits for what somebody types."""
    argv = [*container.get("command", ()), *container.get("args", ())]
    image = image_of(container.get("image", ""))
    if not container.get("stdin") or behaviour(container, image)[0] != inf:
        return False
    if not argv:
        return image.repository.rpartition("/")[2] in ENDING_IMAGES
    shell = argv[0].rpartition("/")[2] in SHELLS and all(word.startswith("-") for word in argv[1:])
    return shell and not any(word.endswith("c") for word in argv[1:])


def command(argv: list[str]) -> tuple[float, int] | None:
    """Return (seconds, exit code) of one plain command, None when it isn't known."""
    program = argv[0].rpartition("/")[2]
    if program == "sleep" and len(argv) > 1:
        total = 0.0
        for word in argv[1:]:
            total += seconds(word)
        return total, 0
    if program in _INSTANT:
        return 0.0, _INSTANT[program]
    return None


def script(text: str) -> tuple[float, int]:
    """Return (seconds, exit code) of a shell script of plain commands; any other runs until it is stopped."""
    total, code, skip = 0.0, 0, False
    for part in re.split(r"(&&|\|\||;|\n)", text):
        step = part.strip()
        if step in {"&&", "||"}:
            skip = (code != 0) if step == "&&" else (code == 0)
            continue
        if step in {";", ""}:
            skip = skip if not step else False
            continue
        if skip:
            continue
        leave = _EXIT.match(step)
        if leave:
            return total, int(leave[1]) if leave[1] else code
        known = command(step.split()) if not re.search(r"[|&<>`]", step.replace(">/dev/null", "")) else None
        if known is None:
            return inf, 0
        total, code = total + known[0], known[1]
        if total == inf:
            return inf, 0
    return total, code
