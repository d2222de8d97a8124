r"""Regular expressions that never take long: matched by all their states at once, as Go's are.

The patterns of scripts come from objects that anybody may write, and a backtracking matcher can be made to run for
years. The syntax is the common part of Go's and Python's: literals, `.`, `[…]`, `\d \w \s` and their opposites,
`|`, `(…)`, `(?:…)`, `*`, `+`, `?`, `{m,n}`; the whole text has to match, so that `^` and `$` are allowed at the ends.
"""

from collections.abc import Callable

Test = Callable[[str], bool]
# States of one pattern; matching costs at most this much a character.
MAX_STATES = 500
_MAX_LENGTH = 2000
# Parts built while a pattern is unrolled: empty ones make no state.
_MAX_BUILT = 20_000
_MAX_DEPTH = 50
_CLASSES: dict[str, Test] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "s": lambda c: c in " \t\n\r\f\v",
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_REPEATS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class PatternError(ValueError):
    """No such pattern, or one that is too large."""


class _Node:
    """A part of a pattern: how to build its states before a given one."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[["_Machine", int], int]) -> None:
        self.build = build


class _Machine:
    """States: each tests one character and goes on, or leads on to others without one."""

    def __init__(self) -> None:
        # (test, next) or (None, …), beside the states it leads to. State 0 accepts.
        self.tests: list[Test | None] = [None]
        self.edges: list[list[int]] = [[]]
        self._built = 0

    def spend(self) -> None:
        """Count one part more that is unrolled."""
        self._built += 1
        if self._built > _MAX_BUILT:
            raise PatternError("repetitions of repetitions that are too many")

    def state(self, test: Test | None, edges: list[int]) -> int:
        if len(self.tests) >= MAX_STATES:
            raise PatternError(f"more than {MAX_STATES} states")
        self.tests.append(test)
        self.edges.append(edges)
        return len(self.tests) - 1


class Pattern:
    """A compiled pattern.

    Raises:
        PatternError: The text is none.
    """

    __slots__ = ("_machine", "_start")

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise PatternError(f"longer than {_MAX_LENGTH} characters")
        node = _Parser(text.removeprefix("^")).whole()
        self._machine = _Machine()
        self._start = node.build(self._machine, 0)

    @property
    def states(self) -> int:
        """What matching costs a character at most."""
        return len(self._machine.tests)

    def fullmatch(self, text: str) -> bool:
        """Say whether the whole text matches; O(length of text times states)."""
        current = self._reached([self._start])
        tests, edges = self._machine.tests, self._machine.edges
        for character in text:
            following = [edges[at][0] for at in current if (test := tests[at]) is not None and test(character)]
            if not following:
                return False
            current = self._reached(following)
        return 0 in current

    def _reached(self, states: list[int]) -> list[int]:
        """Return states with all that they lead to without a character."""
        tests, edges = self._machine.tests, self._machine.edges
        seen = dict.fromkeys(states)
        waiting = list(seen)
        while waiting:
            at = waiting.pop()
            if tests[at] is None:
                for to in edges[at]:
                    if to not in seen:
                        seen[to] = None
                        waiting.append(to)
        return list(seen)


def _single(test: Test) -> _Node:
    return _Node(lambda machine, after: machine.state(test, [after]))


def _sequence(nodes: list[_Node]) -> _Node:
    def build(machine: _Machine, after: int) -> int:
        for node in reversed(nodes):
            after = node.build(machine, after)
        return after

    return _Node(build)


def _either(nodes: list[_Node]) -> _Node:
    return _Node(lambda machine, after: machine.state(None, [node.build(machine, after) for node in nodes]))


def _repeated(node: _Node, least: int, most: int | None) -> _Node:
    def build(machine: _Machine, after: int) -> int:
        if most is None:
            loop = machine.state(None, [after])
            machine.edges[loop].append(node.build(machine, loop))
            after = loop
        else:
            end = after
            for _ in range(most - least):
                after = machine.state(None, [node.build(machine, after), end])
        for _ in range(least):
            machine.spend()
            after = node.build(machine, after)
        return after

    return _Node(build)


class _Parser:
    """Recursive descent over a pattern's text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> _Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise PatternError(f"unexpected {self._text[self._at]!r} at {self._at}")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise PatternError("ends too early")
        self._at += 1
        return character

    def _alternatives(self) -> _Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError("nested too deeply")
        branches = [self._branch()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._branch())
        self._depth -= 1
        return branches[0] if len(branches) == 1 else _either(branches)

    def _branch(self) -> _Node:
        nodes: list[_Node] = []
        while (character := self._peek()) and character not in "|)":
            if character == "$" and self._at == len(self._text) - 1:
                self._at += 1
                break
            nodes.append(self._repeat(self._atom()))
        return _sequence(nodes)

    def _repeat(self, node: _Node) -> _Node:
        character = self._peek()
        if not character or character not in "*+?{":
            return node
        self._at += 1
        least, most = self._bounds() if character == "{" else _REPEATS[character]
        if self._peek() == "?":
            # Whether few or many are preferred makes no difference to a whole match.
            self._at += 1
        return _repeated(node, least, most)

    def _bounds(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        inside = self._text[self._at : end] if end >= 0 else ""
        low, comma, high = inside.partition(",")
        if (
            not (low.isascii() and low.isdigit())
            or (high and not (high.isascii() and high.isdigit()))
            or len(inside) > 9
        ):
            raise PatternError(f"no bounds after {{ at {self._at}")
        self._at = end + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if least > MAX_STATES or (most is not None and not least <= most <= MAX_STATES):
            raise PatternError(f"bounds that cannot be: {{{inside}}}")
        return least, most

    def _atom(self) -> _Node:
        character = self._take()
        if character == "(":
            if self._text.startswith("?:", self._at):
                self._at += 2
            elif self._peek() == "?":
                raise PatternError(f"a group of an unknown kind at {self._at}")
            node = self._alternatives()
            if self._take() != ")":
                raise PatternError("a group without its end")
            return node
        if character == "[":
            return _single(self._set())
        if character == ".":
            return _single(lambda c: c != "\n")
        if character == "\\":
            return _single(self._escape())
        if character in "*+?{^$":
            raise PatternError(f"{character!r} at {self._at - 1} has no meaning there")
        return _single(lambda c: c == character)

    def _escape(self) -> Test:
        character = self._take()
        test = _CLASSES.get(character.lower())
        if test is not None:
            return test if character.islower() else lambda c: not test(c)
        if character in _CONTROLS:
            return lambda c: c == _CONTROLS[character]
        if character.isalnum():
            raise PatternError(f"an unknown escape: \\{character}")
        return lambda c: c == character

    def _set(self) -> Test:
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        first = True
        while (character := self._take()) != "]" or first:
            first = False
            if character == "[" and self._peek() == ":":
                raise PatternError("classes such as [:alpha:] are not known")
            if character == "\\":
                tests.append(self._escape())
                continue
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                last = self._take()
                if last == "\\" or last < character:
                    raise PatternError(f"a range that cannot be: {character}-{last}")
                tests.append(_between(character, last))
            else:
                tests.append(_between(character, character))
        return lambda c: any(test(c) for test in tests) is not negated


def _between(low: str, high: str) -> Test:
    return lambda c: low <= c <= high
