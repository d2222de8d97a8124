"""The nodes of a template's tree; as text, each is what Go's messages show of it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Node:
    """Base of all nodes; `position` is the offset in the source, for messages."""

    position: int


@dataclass(slots=True)
class Text(Node):
    """Text between actions."""

    text: str


@dataclass(slots=True)
class Dot(Node):
    """The dot alone."""

    def __str__(self) -> str:
        return "."


@dataclass(slots=True)
class Nil(Node):
    """`nil`."""

    def __str__(self) -> str:
        return "nil"


@dataclass(slots=True)
class Constant(Node):
    """A literal, as it was written and what it means."""

    value: Any
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Fields(Node):
    """`.a.b` of the dot."""

    names: list[str]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Variable(Node):
    """`$x.a.b`."""

    name: str
    names: list[str]

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Chain(Node):
    """Fields of a term in parentheses."""

    term: Node
    names: list[str]

    def __str__(self) -> str:
        inner = f"({self.term})" if isinstance(self.term, Pipe) else str(self.term)
        return inner + "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Function(Node):
    """A function's name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Command(Node):
    """One stage of a pipeline: a function and its arguments, or one operand."""

    arguments: list[Node]

    def __str__(self) -> str:
        return " ".join(f"({a})" if isinstance(a, Pipe) else str(a) for a in self.arguments)


@dataclass(slots=True)
class Pipe(Node):
    """A pipeline, perhaps assigned to variables."""

    commands: list[Command]
    declared: list[str] = field(default_factory=list)
    assigns: bool = False

    def __str__(self) -> str:
        head = ""
        if self.declared:
            head = ", ".join(self.declared) + (" = " if self.assigns else " := ")
        return head + " | ".join(str(command) for command in self.commands)


@dataclass(slots=True)
class Action(Node):
    """A pipeline whose value is printed."""

    pipe: Pipe


@dataclass(slots=True)
class Branch(Node):
    """`if`, `with` or `range`."""

    keyword: str
    pipe: Pipe
    body: list[Node]
    other: list[Node] | None


@dataclass(slots=True)
class Jump(Node):
    """`break` or `continue`."""

    keyword: str


@dataclass(slots=True)
class Call(Node):
    """`template "name" pipe`."""

    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        return f'{{{{template "{self.name}"' + (f" {self.pipe}" if self.pipe is not None else "") + "}}"
