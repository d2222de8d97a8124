"""What an expression of CEL costs at most, before any value is known: Kubernetes' static estimates.

In: a checked expression (`celtrees`), and how large what it names may be. Out: cost units, of which a rule has 10 million.
The rules are those of cel-go and of Kubernetes' libraries: a step costs one, texts a tenth of their length, a loop what its
body costs times the most items. Sums end at the largest number of 64 bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from kubedyno.cluster.registry.celtrees import Kind, Node, Tree

UNKNOWN = (1 << 64) - 1
_TEXT_FACTOR, _PATTERN_FACTOR = 0.1, 0.25
_LIST_COST, _MAP_COST, _MESSAGE_COST = 10, 30, 40
_CHECK_COST = 350_000
_ACCUMULATORS = frozenset({"@result", "__result__"})
_SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})
# What an address and a network are, in bytes: two of the longest are compared.
_ADDRESS_BYTES = 16
# A format's pattern is thought as long as this, times what a character of a pattern costs.
_FORMAT_COST = 32
# Functions of texts alone that read them, and how often.
_READS = {
    "quantity": 1, "isQuantity": 1, "ip": 1, "isIP": 1, "cidr": 1, "isCIDR": 1, "url": 1, "semver": 1, "isSemver": 1,
    "ip.isCanonical": 2,
}  # fmt: skip
# What makes values of Kubernetes' own types: two of them are compared in a step.
_OWN_TYPES = frozenset({"quantity", "ip", "cidr", "url", "semver", "masked", "add", "sub"})
_SORTED = frozenset({"sort", "@sortByAssociatedKeys"})
_LISTS = frozenset({"reverse", "distinct", "flatten", "slice", *_SORTED})

Path = tuple[str, ...]
# How large a value at a path of the variables is at most; None: not known.
Declared = Callable[[Path], int | None]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a text, a list or a map is: at least, at most."""

    least: int = 0
    most: int = UNKNOWN

    def joined(self, other: "Size") -> "Size":
        """Return what spans both."""
        return Size(min(self.least, other.least), max(self.most, other.most))

    def plus(self, other: "Size") -> "Size":
        """Return the size of both, one after another."""
        return Size(_capped(self.least + other.least), _capped(self.most + other.most))

    def times(self, other: "Size") -> "Size":
        """Return the size of as many."""
        return Size(_capped(self.least * other.least), _capped(self.most * other.most))


@dataclass(frozen=True, slots=True)
class _Entry:
    """How large a container's keys and values are."""

    container: str
    key: Size
    value: Size


@dataclass(frozen=True, slots=True)
class _Local:
    """What a variable of a loop stands for."""

    path: Path
    size: Size | None = None
    entry: _Entry | None = None


def _capped(value: int) -> int:
    return min(value, UNKNOWN)


def scaled(value: int, factor: float) -> int:
    """Return a size times the cost of one, rounded up."""
    return _capped(math.ceil(float(value) * factor))


def estimate(tree: Tree, declared: Declared) -> int:
    """Return what an expression costs at most."""
    return _Coster(tree, declared).cost(tree.root)


class _Coster:
    """Walks an expression once, remembering the sizes of what its parts make."""

    def __init__(self, tree: Tree, declared: Declared) -> None:
        self._tree, self._declared = tree, declared
        self._paths: dict[int, Path] = {}
        self._locals: dict[str, list[_Local]] = {}
        self._sizes: dict[int, Size] = {}
        self._entries: dict[int, _Entry] = {}

    # --- costs -------------------------------------------------------------------------------------------------------

    def cost(self, node: Node) -> int:
        """Return a part's cost at most."""
        if node.kind == "name":
            self._paths[node.number] = self._path(node)
            return 1
        if node.kind == "member":
            return self._member(node)
        if node.kind == "call":
            return self._call(node)
        if node.kind == "list":
            total = self._all(node.parts)
            self._entries[node.number] = _Entry("list", Size(1, 1), self._spanned(node.parts))
            return _capped(total + _LIST_COST)
        if node.kind == "map":
            total = self._all(node.parts)
            keys, values = node.parts[::2], node.parts[1::2]
            self._entries[node.number] = _Entry("map", self._spanned(keys), self._spanned(values))
            return _capped(total + _MAP_COST)
        if node.kind == "message":
            return _capped(self._all(node.parts) + _MESSAGE_COST)
        return self._loop(node) if node.loop is not None else 0

    def _all(self, nodes: tuple[Node, ...]) -> int:
        return _capped(sum(self.cost(node) for node in nodes))

    def _spanned(self, nodes: tuple[Node, ...]) -> Size:
        sizes = [self._known(node) for node in nodes]
        return Size(min((s.least for s in sizes), default=0), max((s.most for s in sizes), default=0))

    def _member(self, node: Node) -> int:
        assert node.target is not None
        total = self.cost(node.target)
        if node.tested:
            return total
        if self._kind(node.target) in {"map", "struct", "param"}:
            total += 1
        self._paths[node.number] = (*self._path(node.target), node.name)
        return _capped(total)

    def _call(self, node: Node) -> int:
        if node.name == "dyn":
            total = self.cost(node.parts[0]) + 1
            self._copy(node, node.parts[0])
            return _capped(total)
        if node.name == "_?_:_" and (checked := _format_checked(node)) is not None:
            return self._format(node, checked)
        given = [self.cost(part) for part in node.parts]
        overloads = self._tree.overloads.get(node.number, ())
        if not overloads:
            return 0
        own = 0 if node.target is None else self.cost(node.target)
        most, size = 0, None
        for overload in overloads:
            cost, result = self._function(node, overload, given)
            most = max(most, cost)
            if result is not None:
                size = result if size is None else size.joined(result)
            if overload in {"index_list", "index_map"} and node.parts:
                entry = self._entry(node.parts[0])
                size = None if entry is None else entry.value
                step = "@items" if overload == "index_list" else "@values"
                self._paths[node.number] = (*self._path(node.parts[0]), step)
            if size is None:
                size = self._size(node)
        if size is not None:
            self._sizes[node.number] = size
        return _capped(own + most)

    def _loop(self, node: Node) -> int:
        loop = node.loop
        assert loop is not None
        total = self.cost(loop.over) + self.cost(loop.start)
        self._push(loop.result_name, _Local(self._path(loop.start), self._size(loop.start), self._entry(loop.start)))
        bind = loop.over.kind == "list" and not loop.over.parts and loop.condition.value is False
        if bind and loop.result_name not in _ACCUMULATORS:
            total += self.cost(loop.result)
            self._locals[loop.result_name].pop()
            self._copy(node, loop.result)
            return _capped(total)
        self._enter(loop.over, loop.variable, loop.second)
        body = self.cost(loop.condition) + self.cost(loop.step)
        self._locals[loop.variable].pop()
        if loop.second:
            self._locals[loop.second].pop()
        total += self.cost(loop.result)
        self._locals[loop.result_name].pop()
        count = self._known(loop.over)
        if loop.start.kind == "constant":
            self._keep(node, self._size(loop.start))
        elif loop.start.kind in {"list", "map"}:
            self._sizes[node.number] = count
            entry = self._entry(loop.step)
            if entry is not None:
                self._entries[node.number] = entry
        return _capped(total + count.most * body)

    def _enter(self, over: Node, variable: str, second: str) -> None:
        """Tell what a loop's variables stand for."""
        entry, path = self._entry(over), self._path(over)
        container = self._kind(over) if entry is None else entry.container
        key = _Local((*path, "@indices" if container == "list" else "@keys"), None if entry is None else entry.key)
        value = _Local((*path, "@items" if container == "list" else "@values"), None if entry is None else entry.value)
        if second:
            self._push(variable, key)
            self._push(second, value)
        else:
            self._push(variable, value if container == "list" else key)

    # --- functions ---------------------------------------------------------------------------------------------------

    def _function(self, node: Node, overload: str, given: list[int]) -> tuple[int, Size | None]:
        """Return what a call costs with what it is given, and how large its result is, where that is told."""
        spent = sum(given)
        if overload in {"logical_or", "logical_and"}:
            return _capped(spent), None
        if overload == "conditional":
            size = self._known(node.parts[1]).joined(self._known(node.parts[2]))
            self._keep_entry(node, *node.parts[1:3])
            return _capped(given[0] + max(given[1], given[2])), size
        found = self._of_library(node, overload) or self._of_language(node, overload)
        cost, result = found or (1, None)
        return _capped(cost + spent), result

    def _of_library(self, node: Node, overload: str) -> tuple[int, Size | None] | None:
        """Return the cost and the size of a function of Kubernetes' libraries, None when it has no own."""
        name, target = node.name, node.target
        if name == "check":
            return _CHECK_COST, None
        if target is None:
            return self._of_nothing(node, overload)
        if name in _LISTS:
            return self._of_list(node, target)
        own = self._known(target)
        if name in {"isSorted", "sum", "max", "min", "k8sIndexOf", "k8sLastIndexOf"}:
            items = self._items_of(target)
            if items is None:
                return scaled(own.most, _TEXT_FACTOR), None
            each = 1 + (scaled(items.most, _TEXT_FACTOR) if self._item_kind(target) in {"string", "bytes"} else 0)
            return _capped(own.most * each), None
        if name in {"lowerAscii", "upperAscii", "substring", "trim"}:
            return scaled(own.most, _TEXT_FACTOR), own
        if name == "replace" and len(node.parts) > 1:
            return scaled(own.most, 2 * _TEXT_FACTOR), _replaced(own, *map(self._known, node.parts[:2]))
        if name == "split":
            limit = node.parts[1].value if len(node.parts) > 1 else None
            most = limit % (1 << 64) if isinstance(limit, int) and not isinstance(limit, bool) else own.most
            return scaled(own.most, 2 * _TEXT_FACTOR), Size(0, most)
        if name == "join":
            items = self._items_of(target)
            size = Size(0, 0) if items is None else own.times(items)
            if node.parts:
                between = Size(max(own.least - 1, 0), max(own.most - 1, 0))
                size = size.plus(self._known(node.parts[0]).times(between))
            return scaled(size.most, _TEXT_FACTOR), size
        if name in {"find", "findAll"} and node.parts:
            return self._pattern(own, self._known(node.parts[0])), Size(0, own.most)
        if name in {"containsIP", "containsCIDR"} and node.parts:
            return self._network(name, node.parts[0]), None
        return None

    def _of_list(self, node: Node, target: Node) -> tuple[int, Size | None]:
        """Return the cost of what makes a list of another."""
        size, factor = self._known(target), 1.0
        if node.name == "slice":
            start, end = (_literal(part, default) for part, default in zip(node.parts, (0, UNKNOWN), strict=True))
            size = Size(max(end - start, 0), max(end - start, 0))
        elif node.name == "flatten":
            factor = float(_literal(node.parts[0], UNKNOWN)) if node.parts else 1.0
        elif node.name != "reverse":
            # All are compared with all, keys where those are what is sorted by.
            sorts = node.name in _SORTED
            keys = node.parts[0] if node.name == "@sortByAssociatedKeys" else target
            size = self._known(keys)
            size, factor = size.times(size), 2 + _TEXT_FACTOR * (sorts and self._item_kind(keys) in {"string", "bytes"})
        return _capped(scaled(size.most, factor) + _LIST_COST + 1), size

    def _of_nothing(self, node: Node, overload: str) -> tuple[int, Size | None] | None:
        """Return the cost of a function that is called on nothing."""
        if node.name in _READS and node.parts:
            return scaled(self._known(node.parts[0]).most, _READS[node.name] * _TEXT_FACTOR), None
        if node.name == "k8sRange":
            count = _literal(node.parts[0], UNKNOWN)
            return _capped(count + _LIST_COST + 1), Size(count, count)
        if overload == "equals" and any(part.kind == "call" and part.name in _OWN_TYPES for part in node.parts):
            return 1, None
        return self._of_sets(node, overload)

    def _format(self, node: Node, checked: Node) -> int:
        """Return the cost of what `celformats` has written out: of what is looked at, and of that once."""
        spent = 1 + self.cost(checked)
        if node.parts[0].name != "k8sIsFormat":
            spent += scaled(self._known(checked).most, _TEXT_FACTOR) * _FORMAT_COST
        return _capped(spent)

    def _of_sets(self, node: Node, overload: str) -> tuple[int, Size | None] | None:
        if not node.name.startswith("sets.") or len(node.parts) != 2:
            return None
        a, b = map(self._known, node.parts)
        factor = 2 if "equivalent" in overload else 1
        return _capped(a.most * b.most * factor + 1), None

    def _network(self, name: str, given: Node) -> int:
        cost = scaled(2 * _ADDRESS_BYTES, _TEXT_FACTOR)
        if name == "containsCIDR":
            cost += scaled(_ADDRESS_BYTES, _TEXT_FACTOR) + 1
        if not (given.kind == "call" and given.name in {"ip", "cidr", "masked"}):
            # A text is parsed first.
            cost += scaled(self._known(given).most, _TEXT_FACTOR)
        return _capped(cost)

    def _pattern(self, text: Size, pattern: Size) -> int:
        return _capped(scaled(_capped(text.most + 1), _TEXT_FACTOR) * scaled(pattern.most, _PATTERN_FACTOR))

    def _of_language(self, node: Node, overload: str) -> tuple[int, Size | None] | None:
        """Return the cost and the size of a function of the language itself, None when it is a single step."""
        sizes = [self._known(part) for part in node.parts]
        own = None if node.target is None else self._known(node.target)
        if overload == "string_format" and own is not None:
            return scaled(own.most, _TEXT_FACTOR), own.plus(sizes[0])
        if overload == "string_to_bytes":
            return scaled(sizes[0].most, _TEXT_FACTOR), Size(sizes[0].least, _wrapped(sizes[0].most * 4))
        if overload == "bytes_to_string":
            return scaled(sizes[0].most, _TEXT_FACTOR), Size(sizes[0].least // 4, sizes[0].most)
        if overload == "strings_quote":
            return scaled(sizes[0].most, _TEXT_FACTOR), Size(sizes[0].least + 2, _wrapped(sizes[0].most * 2 + 2))
        if overload in {"starts_with_string", "ends_with_string"}:
            return scaled(sizes[0].most, _TEXT_FACTOR), None
        if overload == "in_list":
            return sizes[1].most, None
        if overload == "matches_string" and own is not None:
            return self._pattern(own, sizes[0]), None
        if overload == "contains_string" and own is not None:
            return _capped(scaled(own.most, _TEXT_FACTOR) * scaled(sizes[0].most, _TEXT_FACTOR)), None
        if overload in {"add_string", "add_bytes", "add_list"}:
            size = sizes[0].plus(sizes[1])
            self._keep_entry(node, *node.parts)
            return 1 if overload == "add_list" else scaled(size.most, _TEXT_FACTOR), size
        compared = overload in {"equals", "not_equals"} or (
            overload.startswith(("less_", "greater_")) and overload.endswith(("_string", "_bytes"))
        )
        return (scaled(min(sizes[0].most, sizes[1].most), _TEXT_FACTOR), None) if compared else None

    # --- sizes -------------------------------------------------------------------------------------------------------

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _local(self, node: Node) -> _Local | None:
        found = self._locals.get(node.name) if node.kind == "name" else None
        return found[-1] if found else None

    def _path(self, node: Node) -> Path:
        local = self._local(node)
        if local is not None:
            return local.path
        return (node.name,) if node.kind == "name" else self._paths.get(node.number, ())

    def _kind(self, node: Node) -> str:
        return self._tree.kind_of(node).name

    def _item_kind(self, node: Node) -> str:
        of = self._tree.kind_of(node).of
        return of[0].name if of else ""

    def _items_of(self, node: Node) -> Size | None:
        """Return how large a list's items are, None when it is no list."""
        if not self._tree.kind_of(node).of:
            return None
        path = self._path(node)
        most = self._declared((*path, "@items")) if path and path[0] not in _ACCUMULATORS else None
        return Size() if most is None else Size(0, most)

    def _known(self, node: Node) -> Size:
        """Return a part's size, that of anything where it is not told."""
        return self._size(node) or Size()

    def _size(self, node: Node) -> Size | None:
        found = self._sizes.get(node.number)
        if found is not None:
            return found
        if node.kind == "constant":
            length = len(node.value) if isinstance(node.value, str | bytes) else 1
            return Size(length, length)
        if node.kind in {"list", "map"}:
            count = len(node.parts) if node.kind == "list" else len(node.parts) // 2
            return Size(count, count)
        path = self._path(node)
        most = self._declared(path) if path else None
        if most is not None:
            return self._sizes.setdefault(node.number, Size(0, most))
        if _is_scalar(self._tree.kind_of(node)):
            return Size(1, 1)
        local = self._local(node)
        return None if local is None else local.size

    def _entry(self, node: Node) -> _Entry | None:
        found = self._entries.get(node.number)
        if found is not None:
            return found
        local = self._local(node)
        return None if local is None else local.entry

    def _keep(self, node: Node, size: Size | None) -> None:
        if size is not None:
            self._sizes[node.number] = size

    def _keep_entry(self, node: Node, a: Node, b: Node) -> None:
        one, other = self._entry(a), self._entry(b)
        if one is not None and other is not None:
            self._entries[node.number] = _Entry(one.container, one.key.joined(other.key), one.value.joined(other.value))

    def _copy(self, node: Node, source: Node) -> None:
        self._keep(node, self._size(source))
        entry = self._entry(source)
        if entry is not None:
            self._entries[node.number] = entry


def _literal(node: Node, default: int) -> int:
    """Return a number that stands in an expression, the default for what is not known."""
    value = node.value
    return value if node.kind == "constant" and isinstance(value, int) and not isinstance(value, bool) else default


def _format_checked(node: Node) -> Node | None:
    """Return what is looked at in `format.NAME().validate(…)` or `format.named(…)` as `celformats` writes it out."""
    asked = node.parts[0]
    if asked.name == "_==_" and asked.parts[0].name == "k8sFormat":
        return asked.parts[0].parts[1]
    return asked.parts[0] if asked.name == "k8sIsFormat" else None


def _is_scalar(kind: Kind) -> bool:
    return kind.name in _SCALARS or (kind.name == "opaque" and bool(kind.of) and _is_scalar(kind.of[0]))


def _wrapped(value: int) -> int:
    """Return a size as a sum without a guard has it."""
    return value % (1 << 64)


def _replaced(text: Size, old: Size, new: Size) -> Size:
    """Return how large a text is in which one is replaced by another."""
    count = kept = 0
    if not old.least:
        count, kept = _capped(text.most + 1), text.most
    elif new.most <= old.least:
        kept = text.most
    else:
        count = math.ceil(text.most / old.least)
    fewest = left = 0
    if not old.most:
        fewest, left = _capped(text.least + 1), text.least
    elif old.most <= new.least:
        left = text.least
    else:
        fewest = math.ceil(text.least / old.most)
    return Size(fewest, count).times(new).plus(Size(left, kept))
