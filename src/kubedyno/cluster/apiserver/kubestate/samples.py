"""Samples of one object, family by family."""

from collections.abc import Iterable, Sequence
from typing import Any

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.exposition import labels_text, number
from kubedyno.kube.quantity import Quantity

Object = dict[str, Any]
_VERDICTS = ("true", "false", "unknown")


class Samples:
    """Collects what is said of one object.

    Args:
        of: Labels of all its samples.

    Attributes:
        lines: Family → its lines.
    """

    __slots__ = ("_of", "lines")

    def __init__(self, **of: str) -> None:
        self._of = of
        self.lines: dict[str, list[str]] = {}

    def add(self, family: str, value: float = 1, /, **labels: str) -> None:
        """Add a sample."""
        line = f"{family}{labels_text({**self._of, **labels})} {number(value)}\n"
        self.lines.setdefault(family, []).append(line)

    def fields(self, prefix: str, values: Object, **names: str) -> None:
        """Add the numbers that are there.

        Args:
            prefix: Of the families.
            values: By their names in the object.
            names: Family without the prefix → name in the object.
        """
        for name, field in names.items():
            if values.get(field) is not None:
                self.add(prefix + name, float(values[field]))

    def counts(self, prefix: str, values: Object, **names: str) -> None:
        """Add numbers, 0 for those that are not there; otherwise as `fields`."""
        for name, field in names.items():
            self.add(prefix + name, float(values.get(field) or 0))

    def times(self, prefix: str, values: Object, **names: str) -> None:
        """Add the times that are there, as epoch seconds; otherwise as `fields`."""
        for name, field in names.items():
            if values.get(field):
                self.add(prefix + name, epoch_of(values[field]))

    def states(self, family: str, state: Any, all_states: Iterable[str], label: str) -> None:
        """Add a sample for each of the states, 1 for the one that is."""
        for each in all_states:
            self.add(family, float(state == each), **{label: each})

    def verdict(self, family: str, status: str, label: str = "status", **labels: str) -> None:
        """Add the three samples of a condition's status."""
        lowered = status.lower()
        for each in _VERDICTS:
            self.add(family, float(lowered == each), **labels, **{label: each})

    def owners(self, family: str, meta: Object, /, *, controls: bool = True, **more: str) -> None:
        """Add whose an object is; nobody's has empty labels.

        Args:
            family: Its name.
            meta: The object's metadata.
            controls: With a label that says whether the owner is its controller.
            more: Labels behind those of the owner.
        """
        owners: Sequence[Object] = meta.get("ownerReferences") or ({},)
        for owner in owners:
            labels = {"owner_kind": owner.get("kind", ""), "owner_name": owner.get("name", "")}
            if controls:
                labels["owner_is_controller"] = str(bool(owner.get("controller"))).lower() if owner else ""
            self.add(family, **labels, **more)


def amount(text: Any) -> float:
    """Return a quantity as a number."""
    return float(Quantity.parse(str(text)).amount)


def resource_label(name: str) -> str:
    """Return a resource's name as a label has it."""
    return "".join([c if c.isalnum() else "_" for c in name])


def unit_of(resource: str) -> str:
    """Return the unit that a resource is counted in."""
    if resource == "cpu":
        return "core"
    is_bytes = resource in {"memory", "storage", "ephemeral-storage"} or resource.startswith(
        ("hugepages-", "attachable-volumes-")
    )
    return "byte" if is_bytes else "integer"
