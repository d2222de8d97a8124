"""Kubernetes' own functions of CEL, and how values and errors come back from the evaluator.

The evaluator converts what its functions are given before it checks it, and cannot convert every value: a list or a map
with an optional in it would end the process. So functions here take and return strings, numbers and booleans only, and
values of Kubernetes' opaque types (quantities, addresses, URLs, what an authorizer is asked) are strings to the
evaluator; lists are `cellists`' own matter. What cannot be said that way is in `UNKNOWN`.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from kubedyno.cluster.registry import celformats, cellists, celliterals, celmaps, celpatterns, celtrees
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.semver import Version

_MODULE = "cel_expr_python"
_EXTENSIONS = {"strings": "ExtStrings", "optional": "ExtOptional"}
# Those that the evaluator has by name only.
_NAMED = ("lists", "sets", "two-var-comprehensions")
# Functions of Kubernetes' CEL that are not evaluated here.
UNKNOWN = frozenset({
    "named", "namedPattern", "validate",
})  # fmt: skip
# What whoever lacks the evaluator has to do.
INSTALL = "pip install 'kubedyno[cel]'"
# Go's words for what C++ says otherwise.
_COMPILER_WORDS = (
    (re.compile(r"expression of type ('\w+') cannot be the operand of a select operation"),
     r"type \1 does not support field selection"),
    (re.compile(r"has\(\) argument must be a field selection"), "invalid argument to has() macro"),
    (re.compile(r"undefined field '(\w+)' not found in struct '[^']*'"), r"undefined field '\1'"),
    (re.compile(r"\bnull_type\b"), "null"),
    (re.compile(r"\bT%\d+"), "dyn"),
    (re.compile(r"google\.protobuf\.(?:Timestamp|Duration)\b"), lambda found: found[0].rpartition(".")[2].lower()),
)  # fmt: skip
_UNDECLARED = re.compile(
    r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): undeclared reference to '(?P<chain>\w+(?:\.\w+)+)' "
    r"\(in container ''\)\n \| (?P<source>.*)\n \| \.*\^"
)
# What follows from another complaint alone.
_FOLLOWING = re.compile(
    r"ERROR: <input>:\d+:\d+: expression of type '\*error\*' cannot be the operand of a select operation\n \| .*\n \| \.*\^\n?"
)
_OVERLOAD = re.compile(
    r"ERROR: <input>:\d+:(?P<column>\d+): found no matching overload for '(?P<name>\w+)' applied to '\((?P<types>.*)\)'\n"
    r" \| (?P<source>.*)\n"
)
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): ")
_OUT_OF_BUDGET = "Iteration budget exceeded"
_PATTERN_WORDS = (
    (re.compile(r"missing \]: (.*)"), "missing closing ]"),
    (re.compile(r"missing \): (.*)"), "missing closing )"),
    (re.compile(r"unexpected \): (.*)"), "unexpected )"),
    (re.compile(r"no argument for repetition operator: (.*)"), "missing argument to repetition operator"),
    (re.compile(r"bad repetition operator: (.*)"), "invalid nested repetition operator"),
    (
        re.compile(r"(?:invalid )?trailing \\.*|trailing \\ at end of regexp.*"),
        "trailing backslash at end of expression",
    ),
    (re.compile(r"invalid escape sequence: (.*)"), "invalid escape sequence"),
    (re.compile(r"invalid character class range: (.*)"), "invalid character class range"),
    (re.compile(r"invalid repetition size: (.*)"), "invalid repeat count"),
    (re.compile(r"invalid perl operator: (.*)"), "invalid or unsupported Perl syntax"),
    (re.compile(r"invalid named capture group: (.*)"), "invalid named capture"),
)
_RUNTIME_WORDS = (
    (re.compile(r"invalid regular expression: (.*)"), lambda found: pattern_problem(found[1])),
    (re.compile(r"cannot convert string to int"), "type conversion error from 'string' to 'int'"),
    (re.compile(r"String to (Duration|Timestamp) conversion failed"),
     r"type conversion error from 'string' to 'google.protobuf.\1'"),

    (re.compile(r'Key not found in map : "?([^"]*)"?'), r"no such key: \1"),
    (re.compile(r"No matching overloads found : .*"), "no such overload"),
    (re.compile(r"Applying SELECT to non-message type.*"), "no such overload"),
    (re.compile(r"Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"^divide by zero"), "division by zero"),
    (re.compile(r"^modulus by zero"), "modulus by zero"),
)  # fmt: skip
_CODE = re.compile(r"^[A-Z_]+: ")
_NUMBERS = frozenset({"INT", "UINT", "DOUBLE"})
_PLAIN = frozenset({"BOOL", "STRING", "NULL", *_NUMBERS})


class ConversionError(ValueError):
    """A value that no object can have: a type, an optional, a duration."""


@cache
def available() -> bool:
    """Say whether expressions can be evaluated: the extra `cel` is installed."""
    return find_spec(_MODULE) is not None


def module() -> Any:
    """Return the evaluator; only where it is `available`."""
    return import_module(f"{_MODULE}.cel")


def environment(variables: dict[str, Any], more: tuple[Any, ...] = (), pool: Any = None) -> Any:
    """Return an environment with Kubernetes' libraries.

    Args:
        variables: Name → the evaluator's type.
        more: Functions beside them (`function`).
        pool: Messages that variables are of, as protobuf has descriptors; None: of none.
    """
    extensions = [getattr(import_module(f"{_MODULE}.ext.ext_{name}"), made)() for name, made in _EXTENSIONS.items()]
    return module().NewEnv(
        descriptor_pool=pool,
        variables=variables,
        config=_config(*_NAMED),
        extensions=extensions,
        functions=[*functions(), celmaps.declaration(module()), *more],
    )


def _config(*extensions: str) -> Any:
    return module().NewEnvConfigFromYaml("extensions:\n" + "".join(f"- name: {name}\n" for name in extensions))


def compiled(environment_: Any, text: str, rewrite: Callable[[str], str] = str, *, only_checked: bool = False) -> Any:
    """Return an expression, compiled with ours in place of what the evaluator lacks.

    Args:
        environment_: As `environment` makes them.
        text: The expression.
        rewrite: What else is to be written otherwise.
        only_checked: It is never evaluated, and keeps the macros that are evaluated by ours.

    Raises:
        RuntimeError: It is none; the text is `compile_problem`'s.
    """
    plain = celformats.written_out(text)
    written = rewrite(plain)
    try:
        checked = environment_.compile(cellists.own(written))
        if written == plain:
            problem = celliterals.complaints(celtrees.read(checked.serialize()), cellists.own(written), _is_literal)
            if problem:
                raise RuntimeError(problem)
        return checked if only_checked else celmaps.compiled(environment_, cellists.own(written))
    except RuntimeError:
        if cellists.own(written) != written:
            # What is said about the expression as it was written counts.
            environment_.compile(written)
        raise


@cache
def _literals() -> dict[str, Any]:
    """Return what takes constants as functions do."""
    cel = module()
    made = cel.NewEnv(variables={"text": cel.Type.STRING})
    expressions = {"matches": "''.matches(text)", "duration": "duration(text)", "timestamp": "timestamp(text)"}
    return {name: made.compile(expression) for name, expression in expressions.items()}


def _is_literal(name: str, text: str) -> bool:
    return str(_literals()[name].eval(data={"text": text}).type().name()) != "ERROR"


def compile_problem(error: RuntimeError) -> str:
    """Return the compiler's complaint in Go's words."""
    text = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    for pattern, words in _COMPILER_WORDS:
        text = pattern.sub(words, text)
    text = _UNDECLARED.sub(_rooted, _FOLLOWING.sub("", text))
    return _in_order(_OVERLOAD.sub(_called, text).strip("\n"))


def _in_order(text: str) -> str:
    """Return complaints in the order of their places."""
    each = [part for part in re.split(r"^(?=ERROR: <input>:)", text, flags=re.MULTILINE) if part]
    if len(each) < 2 or not all(_PLACE.match(part) for part in each):
        return text
    return "\n".join(part.strip("\n") for part in sorted(each, key=lambda part: [*map(int, _place_of(part))]))


def _place_of(complaint: str) -> tuple[str, str]:
    found = _PLACE.match(complaint)
    return (found[1], found[2]) if found else ("0", "0")


def _called(found: re.Match[str]) -> str:
    """Return the complaint about a function as Go has it: a member's receiver stands before what it is given."""
    source, column, types = found["source"], int(found["column"]), found["types"]
    if not re.search(r"\.\s*" + re.escape(found["name"]) + r"\s*$", source[: column - 1]):
        return found[0]
    receiver, rest = _split_type(types)
    return found[0].replace(f"'({types})'", f"'{receiver}.({rest})'", 1)


def _split_type(types: str) -> tuple[str, str]:
    """Return the first of types, and the others."""
    depth = 0
    for i, letter in enumerate(types):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            return types[:i], types[i + 1 :].strip()
    return types, ""


def pattern_problem(problem: str) -> str:
    """Return what the evaluator's engine says of a pattern that is none, in the words of Go's."""
    for pattern, words in _PATTERN_WORDS:
        found = pattern.fullmatch(problem)
        if found is not None:
            return f"error parsing regexp: {words}: `{found[1] if found.groups() else ''}`"
    return f"error parsing regexp: {problem}"


def _rooted(found: re.Match[str]) -> str:
    """Return the complaint about a name that nobody knows as Go has it: about the first of a chain, where that stands."""
    line, column, chain, source = found["line"], int(found["column"]), found["chain"], found["source"]
    start = re.compile(r"\s*\.\s*".join(map(re.escape, chain.split("."))))
    at = next((each.start() for each in start.finditer(source) if each.start() < column <= each.end()), column - 1)
    root = chain.partition(".")[0]
    return (
        f"ERROR: <input>:{line}:{at + 1}: undeclared reference to '{root}' (in container '')\n | {source}\n | "
        f"{'.' * at}^"
    )


def evaluated(expression: Any, data: Mapping[str, Any]) -> Any:
    """Return what an expression comes to, as the evaluator has it; most errors are such values too.

    Args:
        expression: As `compiled` returns it.
        data: Its variables.

    Raises:
        RuntimeError: It takes more steps than the evaluator grants, or has a value that cannot be handed over.
    """
    cellists.begin_evaluation()
    try:
        return expression.eval(data=data)
    except RuntimeError as error:
        if _OUT_OF_BUDGET in str(error):
            raise RuntimeError(cellists.COST_EXCEEDED) from None
        raise


def runtime_problem(value: Any) -> str:
    """Return the text of a result that is an error, in Go's words."""
    text = _CODE.sub("", str(value.value()))
    for pattern, words in _RUNTIME_WORDS:
        text = pattern.sub(words, text)
    return text


def type_name(kind: Any) -> str:
    """Return a type as Go writes it, e.g. "map(string, int)"."""
    name = str(kind.name()).lower().replace("<", "(").replace(">", ")")
    return {"null": "null_type", "duration": "google.protobuf.Duration", "timestamp": "google.protobuf.Timestamp"}.get(
        name, name
    )


def plain(value: Any) -> Any:
    """Return a result as JSON knows it.

    Raises:
        ConversionError: JSON has no such values.
    """
    name = str(value.type().name())
    if name in _PLAIN:
        return value.value()
    if name.startswith("LIST"):
        return [plain(item) for item in value.value()]
    if name.startswith("MAP"):
        return {_key(key): plain(item) for key, item in value.value().items()}
    raise ConversionError(f"unsupported conversion of a value of type {type_name(value.type())}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ConversionError("keys must be strings")
    return key


# --- functions ---------------------------------------------------------------------------------------------------


def function(name: str, *overloads: tuple[str, str, Callable[..., Any]]) -> Any:
    """Return a function's declaration.

    Args:
        name: As it is called.
        overloads: Signature, e.g. "s.s>b" (a string's member that takes a string and returns a boolean) or "s>i";
            letters s, i, d, b, l (a list), t (a list of strings), n (of numbers), a (any value, only returned); what it is; the implementation.
    """
    cel = module()
    types = {"s": cel.Type.STRING, "i": cel.Type.INT, "d": cel.Type.DOUBLE, "b": cel.Type.BOOL, "a": cel.Type.DYN}
    types |= {"l": cel.Type.List(cel.Type.DYN), "t": cel.Type.List(cel.Type.STRING), "n": cel.Type.List(cel.Type.INT)}
    made = []
    for signature, what, implementation in overloads:
        given, _, returned = signature.partition(">")
        own, dot, others = given.partition(".")
        parameters = [types[letter] for letter in own + others]
        identifier = f"{name}_{what}_{signature}".replace(".", "_").replace(">", "_")
        made.append(cel.Overload(identifier, types[returned], parameters, bool(dot), implementation))
    return cel.FunctionDecl(name, made)


@cache
def functions() -> tuple[Any, ...]:
    """Return Kubernetes' functions; only where they are `available`."""
    table: dict[str, tuple[tuple[str, str, Callable[..., Any]], ...]] = {
            "quantity": (("s>s", "q", _quantity),),
            "isQuantity": (("s>b", "q", _is(_quantity)),),
            "sign": (("s.>i", "q", lambda q: _compare(q, "0")),),
            "isInteger": (("s.>b", "q", lambda q: _value_of(q).denominator == 1),),
            "asInteger": (("s.>i", "q", _as_integer),),
            "asApproximateFloat": (("s.>d", "q", lambda q: float(_value_of(q))),),
            "isLessThan": (("s.s>b", "q", lambda a, b: _compare(a, b) < 0),),
            "isGreaterThan": (("s.s>b", "q", lambda a, b: _compare(a, b) > 0),),
            "compareTo": (("s.s>i", "q", _compare),),
            "add": (("s.s>s", "q", lambda a, b: _written(_value_of(a) + _value_of(b))),
                    ("s.i>s", "q", lambda a, b: _written(_value_of(a) + b))),
            "sub": (("s.s>s", "q", lambda a, b: _written(_value_of(a) - _value_of(b))),
                    ("s.i>s", "q", lambda a, b: _written(_value_of(a) - b))),
            "ip": (("s>s", "ip", _ip), ("s.>s", "cidr", lambda cidr: str(_interface(cidr).ip))),
            "isIP": (("s>b", "ip", _is(_ip)),),
            "ip.isCanonical": (("s>b", "ip", lambda text: _ip(text) == text),),
            "family": (("s.>i", "ip", lambda text: ipaddress.ip_address(text).version),),
            "isUnspecified": (("s.>b", "ip", lambda text: ipaddress.ip_address(text).is_unspecified),),
            "isLoopback": (("s.>b", "ip", lambda text: ipaddress.ip_address(text).is_loopback),),
            "isLinkLocalMulticast": (("s.>b", "ip", _is_link_local_multicast),),
            "isLinkLocalUnicast": (("s.>b", "ip", lambda text: ipaddress.ip_address(text).is_link_local),),
            "isGlobalUnicast": (("s.>b", "ip", _is_global_unicast),),
            "cidr": (("s>s", "cidr", lambda text: str(_interface(text))),),
            "isCIDR": (("s>b", "cidr", _is(_interface)),),
            "containsIP": (("s.s>b", "cidr", lambda cidr, text: ipaddress.ip_address(text) in _interface(cidr).network),),
            "containsCIDR": (("s.s>b", "cidr", _contains_cidr),),
            "masked": (("s.>s", "cidr", lambda cidr: str(_interface(cidr).network)),),
            "prefixLength": (("s.>i", "cidr", lambda cidr: _interface(cidr).network.prefixlen),),
            "url": (("s>s", "url", _url),),
            "isURL": (("s>b", "url", _is(_url)),),
            "getScheme": (("s.>s", "url", lambda url: urlsplit(url).scheme),),
            "getHost": (("s.>s", "url", lambda url: urlsplit(url).netloc.rpartition("@")[2]),),
            "getHostname": (("s.>s", "url", lambda url: urlsplit(url).hostname or ""),),
            "getPort": (("s.>s", "url", lambda url: str(urlsplit(url).port or "")),),
            "getEscapedPath": (("s.>s", "url", lambda url: urlsplit(url).path),),
            "semver": (("s>s", "semver", _semver), ("sb>s", "semver", _semver)),
            "isSemver": (("s>b", "semver", _is(_semver)), ("sb>b", "semver", _is(_semver))),
            "major": (("s.>i", "semver", _part(0)),),
            "minor": (("s.>i", "semver", _part(1)),),
            "patch": (("s.>i", "semver", _part(2)),),
            "find": (("s.s>s", "text", celpatterns.find),),
            "findAll": (("s.s>t", "text", celpatterns.find_all), ("s.si>t", "text", celpatterns.find_all)),
            "k8sFormat": (("ss>t", "format", celformats.problems),),
            "k8sIsFormat": (("s>b", "format", celformats.is_format),),
            "jsonpatch.escapeKey": (("s>s", "json", lambda key: key.replace("~", "~0").replace("/", "~1")),),
    }  # fmt: skip
    return tuple(function(name, *overloads) for name, overloads in {**table, **cellists.FUNCTIONS}.items())


def _is(parse: Callable[..., Any]) -> Callable[..., bool]:
    def does(*given: Any) -> bool:
        try:
            parse(*given)
        except ValueError:
            return False
        return True

    return does


def _value_of(text: str) -> Fraction:
    """Return a quantity's exact value."""
    return Fraction(Quantity.parse(text).amount)


def _quantity(text: str) -> str:
    """Return a quantity so that equal ones are equal texts."""
    return _written(_value_of(text))


def _written(value: Fraction) -> str:
    # No quantity is finer than a billionth.
    return str(value.numerator) if value.denominator == 1 else f"{value * 10**9 // 1}n"


def _compare(a: str, b: str) -> int:
    """Compare two quantities, or two versions: no text is both."""
    try:
        newer, older = Version.parse(a), Version.parse(b)
    except ValueError:
        left, right = _value_of(a), _value_of(b)
        return (left > right) - (left < right)
    return (newer > older) - (newer < older)


def _semver(text: str, normalize: bool = False) -> str:
    """Return a version without its build, which no comparison looks at."""
    try:
        return str(replace(Version.parse(text, normalize=normalize), build=""))
    except ValueError:
        raise ValueError(celformats.version_problem(text)) from None


def _part(place: int) -> Callable[[str], int]:
    """Return what reads a version's major, minor or patch number."""

    def part(text: str) -> int:
        try:
            return Version.parse(text).numbers[place]
        except ValueError as error:
            raise ValueError("no such overload") from error

    return part


def _as_integer(text: str) -> int:
    value = _value_of(text)
    if value.denominator != 1 or not -(1 << 63) <= value < 1 << 63:
        raise ValueError("cannot convert value to integer")
    return int(value)


def _ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        problem = celformats.address_problem(text)
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: {problem}') from None
    if "%" in text:
        raise ValueError(f'IP address "{text}" with zone value is not allowed')
    if address.version == 6 and address.ipv4_mapped is not None:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return str(address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    bits = text.rpartition("/")[2]
    try:
        if "/" not in text or not (bits.isascii() and bits.isdigit()):
            raise ValueError(text)
        return ipaddress.ip_interface(text)
    except ValueError:
        said = "network address parse error during conversion from string: "
        raise ValueError(said + said + celformats.prefix_problem(text, _is_address)) from None


def _contains_cidr(cidr: str, other: str) -> bool:
    outer, inner = _interface(cidr).network, _interface(other).network
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _is_link_local_multicast(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address in ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")


def _is_global_unicast(text: str) -> bool:
    address = ipaddress.ip_address(text)
    broadcast = address == ipaddress.ip_address("255.255.255.255")
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast
    )


def _url(text: str) -> str:
    problem = celformats.url_problem(text)
    if problem:
        raise ValueError(f"URL parse error during conversion from string: {problem}")
    return text
