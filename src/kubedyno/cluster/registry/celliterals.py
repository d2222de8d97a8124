"""What Kubernetes' compiler says of constants in an expression beyond their types: patterns, times, lists of different types."""

from collections.abc import Callable, Iterator

from kubedyno.cluster.registry.celtrees import Node, Tree, below

# Lists of different types are what it is for.
_MIXED = frozenset({"format"})


def complaints(tree: Tree, text: str, is_good: Callable[[str, str], bool]) -> str:
    """Return what is wrong with an expression's constants, "" when nothing is.

    Args:
        tree: The expression.
        text: As it was compiled.
        is_good: Says whether a text is one of a function's: "matches" (a pattern), "duration" or "timestamp".
    """
    found = sorted(_found(tree, tree.root, is_good, mixed=False))
    return "\n".join(_told(text, place, what) for place, what in found)


def _found(tree: Tree, node: Node, is_good: Callable[[str, str], bool], *, mixed: bool) -> Iterator[tuple[int, str]]:
    given = node.parts[0] if node.kind == "call" and node.parts else None
    if given is not None and given.kind == "constant" and isinstance(given.value, str):
        name = node.name
        if name in {"matches", "duration", "timestamp"} and not is_good(name, given.value):
            yield tree.places.get(given.number, 0), f"invalid {name} argument"
    if node.kind == "list" and not mixed:
        yield from _unlike(tree, node.parts)
    elif node.kind == "map" and not mixed:
        yield from _unlike(tree, node.parts[::2])
        yield from _unlike(tree, node.parts[1::2])
    for part in below(node):
        yield from _found(tree, part, is_good, mixed=mixed or (node.kind == "call" and node.name in _MIXED))


def _unlike(tree: Tree, nodes: tuple[Node, ...]) -> Iterator[tuple[int, str]]:
    """Yield where the first of nodes is whose type is not that of those before."""
    if not nodes:
        return
    wanted = tree.kind_of(nodes[0])
    for node in nodes[1:]:
        kind = tree.kind_of(node)
        if kind != wanted:
            yield tree.places.get(node.number, 0), f"expected type '{wanted}' but found '{kind}'"
            return


def _told(text: str, place: int, what: str) -> str:
    line = text.count("\n", 0, place)
    start = text.rfind("\n", 0, place) + 1
    source = text[start:].partition("\n")[0]
    return f"ERROR: <input>:{line + 1}:{place - start + 1}: {what}\n | {source}\n | {'.' * (place - start)}^"
