"""What simulated containers say: the script that a pod's annotation or a ConfigMap holds, parsed.

In: YAML or JSON. Out: answers to commands, log lines with their rate, replies of ports. Nothing is ever said that the
script does not; what it does not map is refused by `not_runnable`. See docs/simulated-exec.md for the format.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.apiserver.linearregex import Pattern, PatternError
from kubedyno.kube import yaml

# On a pod: a script, or the name of a ConfigMap with one. On a ConfigMap, as a label with the value "true": a script
# for all pods of its namespace that have no annotation.
SCRIPT = "kubedyno.io/exec"
NOT_RUNNABLE = 127
_PLACEHOLDER = re.compile(rb"\$\{(POD|NAMESPACE|NODE|CONTAINER|STDIN|ROWS|COLUMNS)\}")
# Matching takes time in proportion to both; commands of people and tools are far shorter.
MAX_COMMAND = 1024
# States of all regular expressions of a script together.
MAX_STATES = 4000
MAX_ENTRIES = 1000
MAX_DELAY_S = 3600.0
MAX_RATE = 1000.0


class ScriptError(ValueError):
    """A script that cannot be used; says where and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command does.

    Attributes:
        stdout: Its output, with placeholders.
        stderr: The same.
        exit_code: 0 to 255.
        delay_s: How long it takes, before `--speed`.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    delay_s: float = 0.0

    @property
    def reads_stdin(self) -> bool:
        """It says what it was told: stdin is read to its end first."""
        return b"${STDIN}" in self.stdout + self.stderr

    @property
    def asks_size(self) -> bool:
        """It says how large the client's terminal is."""
        return any(name in self.stdout + self.stderr for name in (b"${ROWS}", b"${COLUMNS}"))


@dataclass(frozen=True, slots=True)
class Command:
    """An answer and what it answers.

    Attributes:
        words: The exact words, or None.
        matches: Of the whole line, when there are no words.
        container: Glob of containers' names.
        answer: What is said.
        states: What `matches` costs a character.
    """

    words: tuple[str, ...] | None
    matches: Callable[[str], bool]
    container: str
    answer: Answer
    states: int = 0


@dataclass(frozen=True, slots=True)
class LogScript:
    """A log: its lines, over and over, so many a second; all at once and once when `rate` is 0."""

    lines: tuple[str, ...]
    rate: float
    container: str = "*"


@dataclass(frozen=True, slots=True)
class PortReply:
    """What a port says once it has been sent something, or at once when `greets`."""

    port: int
    reply: bytes
    delay_s: float
    greets: bool


@dataclass(frozen=True, slots=True)
class Script:
    """A whole script."""

    commands: tuple[Command, ...] = ()
    logs: tuple[LogScript, ...] = ()
    ports: tuple[PortReply, ...] = ()

    def answer(self, container: str, words: Sequence[str]) -> Answer:
        """Return what a command answers: the first entry that fits, else the refusal."""
        return self.find(container, words) or not_runnable(words)

    def find(self, container: str, words: Sequence[str]) -> Answer | None:
        """Return the answer of the first entry that fits, None when there is none."""
        line = " ".join(words)
        if len(line) <= MAX_COMMAND:
            for command in self.commands:
                if not fnmatchcase(container, command.container):
                    continue
                if tuple(words) == command.words if command.words is not None else command.matches(line):
                    return command.answer
        return None

    def log(self, container: str) -> LogScript | None:
        """Return a container's log, None when the script has none."""
        return next((log for log in self.logs if fnmatchcase(container, log.container)), None)

    def port(self, number: int) -> PortReply | None:
        """Return what a port says, None when nothing listens."""
        return next((port for port in self.ports if port.port == number), None)


EMPTY = Script()


def not_runnable(words: Sequence[str]) -> Answer:
    """Return what a command answers that no script maps."""
    name = words[0] if words else ""
    line = " ".join(words)
    shown = line if len(line) <= 200 else line[:200] + "…"
    text = f'{name}: not runnable on a simulated pod: no entry of {SCRIPT} maps "{shown}"\n'
    return Answer(stderr=text.encode(errors="replace"), exit_code=NOT_RUNNABLE)


def filled(text: bytes, values: dict[str, bytes]) -> bytes:
    """Put values in the place of ${POD} and its like; what has no value stays."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1].decode(), match[0]), text)


def is_name(text: str) -> bool:
    """Say whether an annotation is the name of a ConfigMap rather than a script."""
    return re.fullmatch(r"\s*[a-z0-9][a-z0-9.-]*\s*", text) is not None


def parse(text: str, where: str) -> Script:
    """Parse a script: a list of commands, or a mapping with `commands`, `log` and `ports`.

    Args:
        text: YAML or JSON.
        where: Begins the errors, e.g. "annotation kubedyno.io/exec of pod ns/web".

    Raises:
        ScriptError: It is none; the text says where.
    """
    try:
        document = yaml.load(text)
    except ValueError as error:
        raise ScriptError(f"{where}: {error}") from None
    if isinstance(document, list):
        document = {"commands": document}
    fields = _fields(document, where, ("commands", "log", "ports"))
    logs = fields.get("log", [])
    commands = tuple(_command(entry, path) for entry, path in _entries(fields.get("commands"), f"{where}: commands"))
    if sum(command.states for command in commands) > MAX_STATES:
        raise ScriptError(f"{where}: regular expressions with more than {MAX_STATES} states together")
    return Script(
        commands,
        tuple(
            _log(entry, path) for entry, path in _entries(logs if isinstance(logs, list) else [logs], f"{where}: log")
        ),
        tuple(_port(entry, path) for entry, path in _entries(fields.get("ports"), f"{where}: ports")),
    )


def joined(scripts: Iterable[Script]) -> Script:
    """Return several scripts as one; earlier ones go before later ones."""
    every = list(scripts)
    return Script(
        tuple(command for script in every for command in script.commands),
        tuple(log for script in every for log in script.logs),
        tuple(port for script in every for port in script.ports),
    )


def _fields(value: Any, where: str, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScriptError(f"{where}: should be a mapping with {', '.join(known)}")
    for name in value:
        if name not in known:
            raise ScriptError(f"{where}: unknown field {name!r}; known are {', '.join(known)}")
    return {name: field for name, field in value.items() if field is not None}


def _entries(value: Any, where: str) -> list[tuple[Any, str]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ScriptError(f"{where}: should be a list")
    if len(value) > MAX_ENTRIES:
        raise ScriptError(f"{where}: more than {MAX_ENTRIES} entries")
    return [(entry, f"{where}[{at}]") for at, entry in enumerate(value)]


def _command(value: Any, where: str) -> Command:
    known = ("command", "regex", "container", "stdout", "stderr", "exitCode", "delay")
    fields = _fields(value, where, known)
    answer = Answer(
        _text(fields, "stdout", where).encode(),
        _text(fields, "stderr", where).encode(),
        int(_number(fields, "exitCode", where, 255, whole=True)),
        _duration(fields, "delay", where),
    )
    container = _text(fields, "container", where, "*")
    given, expression = fields.get("command"), fields.get("regex")
    if (given is None) is (expression is None):
        raise ScriptError(f"{where}: needs one of command and regex")
    if expression is not None:
        try:
            pattern = Pattern(_text(fields, "regex", where))
            return Command(None, pattern.fullmatch, container, answer, pattern.states)
        except PatternError as error:
            raise ScriptError(f"{where}.regex: {error}") from None
    if isinstance(given, list):
        if not given or not all(isinstance(word, str) for word in given):
            raise ScriptError(f"{where}.command: should be a text or a list of texts")
        return Command(tuple(given), lambda _: False, container, answer)
    glob = _text(fields, "command", where)
    return Command(None, lambda line: fnmatchcase(line, glob), container, answer)


def _log(value: Any, where: str) -> LogScript:
    fields = _fields(value, where, ("container", "rate", "lines"))
    lines = [entry for entry, _ in _entries(fields.get("lines"), f"{where}.lines")]
    if not lines or not all(isinstance(line, str) for line in lines):
        raise ScriptError(f"{where}.lines: should be a list of texts, and not empty")
    rate = _number(fields, "rate", where, MAX_RATE)
    return LogScript(tuple(lines), rate, _text(fields, "container", where, "*"))


def _port(value: Any, where: str) -> PortReply:
    fields = _fields(value, where, ("port", "reply", "greeting", "delay"))
    port = int(_number(fields, "port", where, 65535, whole=True))
    if not port:
        raise ScriptError(f"{where}.port: should be a number from 1 to 65535")
    if ("reply" in fields) is ("greeting" in fields):
        raise ScriptError(f"{where}: needs one of reply and greeting")
    greets = "greeting" in fields
    text = _text(fields, "greeting" if greets else "reply", where)
    return PortReply(port, text.encode(), _duration(fields, "delay", where), greets)


def _text(fields: dict[str, Any], name: str, where: str, default: str = "") -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise ScriptError(f"{where}.{name}: should be a text, not {value!r}")
    return value


def _number(fields: dict[str, Any], name: str, where: str, most: float, *, whole: bool = False) -> float:
    value = fields.get(name, 0)
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and 0 <= value <= most
    if not fits:
        what = "a whole number" if whole else "a number"
        raise ScriptError(f"{where}.{name}: should be {what} from 0 to {most:g}, not {value!r}")
    return float(value)


def _duration(fields: dict[str, Any], name: str, where: str) -> float:
    """Return seconds of a Go duration or of a number."""
    value = fields.get(name, 0)
    if isinstance(value, str):
        try:
            value = duration_ns_of(value) / 1e9
        except ValueError as error:
            raise ScriptError(f"{where}.{name}: {error}") from None
    return _number({name: value}, name, where, MAX_DELAY_S)
