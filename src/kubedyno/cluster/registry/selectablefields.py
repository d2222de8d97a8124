"""What is wrong with a definition's selectableFields: paths by which objects may be chosen; texts as the real server's."""

import re

from kubedyno.cluster.registry import customresourcepaths as paths
from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.status import Cause, duplicate, invalid_value, required

_MAX_FIELDS = 8
_TYPES = frozenset({"string", "boolean", "integer"})
_NO_FIELD = "is an invalid path: does not refer to a valid field"


def selectable_causes(version: Object, schema: Object | None, path: str) -> list[Cause]:
    """Return what is wrong with one version's fields.

    Args:
        version: The definition's entry.
        schema: Its openAPIV3Schema, None where that is told of elsewhere.
        path: Of the entry.
    """
    fields = version.get("selectableFields") or ()
    causes: list[Cause] = []
    if fields and schema is None:
        text = "may only be set when `version.schema.openAPIV3Schema` is not included"
        return [invalid_value(f"{path}.selectableFields", "", text)]
    seen: set[tuple[str, ...]] = set()
    for i, field in enumerate(fields):
        where, text = f"{path}.selectableFields[{i}].jsonPath", field.get("jsonPath", "")
        if not text:
            causes.append(required(where))
            continue
        try:
            members = paths.members(text)
        except ValueError:
            members = ()
        found = schema
        for name in members:
            found = ((found or {}).get("properties") or {}).get(name)
        if not text.startswith((".", "[")):
            why = f"is an invalid path: expected [ or . but got: {re.split(r'[.[]', text)[0]}"
            causes.append(invalid_value(where, text, why))
        elif "[" in text:
            causes.append(invalid_value(where, text, "is an invalid path: array notation is not allowed"))
        elif not members or found is None:
            causes.append(invalid_value(where, text, _NO_FIELD))
        elif members[:1] == ("metadata",):
            causes.append(invalid_value(where, text, "must not point to fields in metadata"))
        elif found.get("type") not in _TYPES:
            what = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats"
            )
            causes.append(invalid_value(where, text, f"{what} are allowed."))
        elif members in seen:
            causes.append(duplicate(where, text))
        else:
            seen.add(members)
    if len(seen) > _MAX_FIELDS:
        text = f"Too many: {len(seen)}: must have at most {_MAX_FIELDS} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.selectableFields", text))
    return causes
