"""Answers about StateDB tables as text: YAML, and rows for a terminal. In: the documents of `controltables`."""

from collections.abc import Mapping, Sequence
from typing import Any

from kubedyno.statedb import dump

_API_COLUMNS = ("generation", "phase", "labels", "owner", "created")


def columns_of(obj: Any) -> dict[str, Any]:
    """Return what a row shows of an object: all members, of an API object those that tell it from its like."""
    if not isinstance(obj, Mapping):
        return {"object": obj}
    metadata = obj.get("metadata")
    if "kind" not in obj or not isinstance(metadata, Mapping):
        return dict(obj)
    owners = metadata.get("ownerReferences") or ()
    status = obj.get("status")
    cells = {
        "generation": metadata.get("generation"),
        "phase": status.get("phase") if isinstance(status, Mapping) else None,
        "labels": ",".join(f"{key}={value}" for key, value in (metadata.get("labels") or {}).items()) or None,
        "owner": f"{owners[0]['kind']}/{owners[0]['name']}" if owners else None,
        "created": metadata.get("creationTimestamp"),
    }
    return {name: cell for name, cell in cells.items() if cell is not None}


def rows(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return the entries of a table's document as aligned lines under a header."""
    shown = [columns_of(entry["object"]) for entry in objects]
    names = list(dict.fromkeys(name for cells in shown for name in cells))
    if names and set(names) <= set(_API_COLUMNS):
        names = [name for name in _API_COLUMNS if name in names]
    indexed = any("indexKey" in entry for entry in objects)
    head = [*(["Index key"] if indexed else []), "Key", *names, "Revision"]
    body = [
        [
            *([dump.cell(entry.get("indexKey"))] if indexed else []),
            entry["key"],
            *(dump.cell(cells.get(name)) for name in names),
            str(entry["revision"]),
        ]
        for entry, cells in zip(objects, shown, strict=True)
    ]
    return dump.align([head, *body])


def overview(document: Mapping[str, Any]) -> str:
    """Return the list of tables as aligned lines, and the readers that hold versions."""
    head = [
        "Name",
        "Database",
        "Objects",
        "Deleted",
        "Trackers",
        "Revision",
        "Oldest",
        "Indexes",
        "Initializers pending",
    ]
    body = [
        [
            table["name"],
            table["database"],
            str(table["objects"]),
            str(table["deleted"]),
            str(table["trackers"]),
            str(table["revision"]),
            str(table["oldestRevision"]),
            ", ".join(index["name"] + (" (unique)" if index["unique"] else "") for index in table["indexes"]),
            ", ".join(table["initializersPending"]),
        ]
        for table in document["tables"]
    ]
    lines = [dump.align([head, *body])]
    for database in document["databases"]:
        lines += [
            f"reader of {database['name']}: {reader['ageSeconds']:.1f} s old, at revision {reader['revision']}, "
            f"may keep {reader['pins']} version(s)\n"
            for reader in database["readers"]
        ]
    return "".join(lines)
