"""Transcripts: commands and what they print, in the form that a terminal shows. A file in, steps out.

A line that begins with `$ ` is a command for bash, `#` a remark, `[N]` the exit code where it is not 0; every other line
is expected output, stdout and stderr as they come. Compared are words: runs of blanks count as one and empty lines not
at all, as columns grow with ages. `...` within a line stands for anything in it, alone on a line for any lines.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Seconds that one command may take.
LIMIT_S = 45.0
_ANYTHING = "..."
_CODE = re.compile(r"\[(\d+)\]")


@dataclass
class Step:
    """A command, its line in the file, and what it has to print."""

    command: str
    line: int
    output: list[str] = field(default_factory=list)
    code: int = 0


def read(path: Path) -> Iterator[Step]:
    """Yield the steps of a transcript."""
    step: Step | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        code = _CODE.fullmatch(line)
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line[2:], number)
        elif line.startswith("#") or step is None:
            assert not line.strip() or line.startswith("#"), f"{path}:{number}: output before any command"
        elif code is not None:
            step.code = int(code[1])
        else:
            step.output.append(line)
    if step is not None:
        yield step


def pattern_of(lines: list[str]) -> re.Pattern[str]:
    """Return what the output of a step has to match, once it is `plain`."""
    parts = []
    for line in (" ".join(line.split()) for line in lines if line.strip()):
        if line == _ANYTHING:
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split(_ANYTHING)) + "\n")
    return re.compile("".join(parts))


def plain(output: str) -> str:
    """Return output without empty lines and with single blanks."""
    return "".join(" ".join(line.split()) + "\n" for line in output.splitlines() if line.strip())


def run(step: Step, directory: Path, environment: Mapping[str, str]) -> str | None:
    """Run a step's command; returns what is wrong with what it printed, None for nothing."""
    done = subprocess.run(
        ["bash", "-c", step.command],
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == step.code and pattern_of(step.output).fullmatch(plain(done.stdout)):
        return None
    expected = "\n".join([*step.output, *([f"[{step.code}]"] if step.code else [])])
    return f"$ {step.command}\n{done.stdout}[{done.returncode}]\n--- instead of\n{expected}"
