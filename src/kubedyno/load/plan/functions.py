"""kube-burner's own template functions, beside Sprig's."""

from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.sprig.values import to_int


def binomial(n: Any, k: Any) -> int:
    """Return how many ways there are to choose `k` of `n`."""
    n, k = to_int(n), to_int(k)
    if n < 0 or k < 0:
        raise FunctionError(f"Binomial needs numbers of at least 0, not {n} and {k}")
    return comb(n, k)


def index_to_combination(index: Any, n: Any, k: Any) -> list[int]:
    """Return the combination of `k` of 1…`n` at a position of the lexical order, 0 first."""
    index, n, k = to_int(index), to_int(n), to_int(k)
    total = comb(n, k) if n >= 0 <= k else 0
    if not 0 <= index < total:
        raise FunctionError(f"IndexToCombination: there is no combination {index} of {k} out of {n}")
    result: list[int] = []
    number = 1
    while len(result) < k:
        with_this = comb(n - number, k - len(result) - 1)
        if index < with_this:
            result.append(number)
        else:
            index -= with_this
        number += 1
    return result


def subnet24(index: Any) -> str:
    """Return the /24 with that number, counted from 1.0.0.0/24."""
    number = to_int(index)
    return f"{(number >> 16) + 1}.{(number >> 8) & 255}.{number & 255}.0/24"


def ip_addresses(addresses: Any, iteration: Any, per_iteration: Any) -> str:
    """Return an iteration's share of a list of addresses, which like the list is separated by spaces."""
    known = str(addresses).split()
    count = to_int(per_iteration)
    first = to_int(iteration) * count
    if first + count > len(known):
        raise FunctionError(f"GetIPAddress: {len(known)} addresses are too few for iteration {to_int(iteration)}")
    return " ".join(known[first : first + count])


def functions(directory: Path) -> dict[str, Callable[..., Any]]:
    """Return the functions by name; `ReadFile` looks in the working directory, then in `directory`."""

    def read_file(path: Any) -> str:
        name = str(path)
        for candidate in (Path(name), directory / name):
            try:
                return candidate.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise FunctionError(f"{name}: {error}") from error
        raise FunctionError(f"open {name}: no such file or directory")

    return {
        "Binomial": binomial,
        "IndexToCombination": index_to_combination,
        "GetSubnet24": subnet24,
        "GetIPAddress": ip_addresses,
        "ReadFile": read_file,
    }
