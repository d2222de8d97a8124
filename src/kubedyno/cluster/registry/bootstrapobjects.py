"""What a real API server makes sure is there: priority classes, roles and their bindings, priority levels of requests.

They are data, one object a line; the namespaces they are in must be there before them.
"""

from pathlib import Path

import orjson

from kubedyno.cluster.registry.kind import Object

_FILE = Path(__file__).parent / "data" / "bootstrap.json"


def bootstrap_objects() -> list[Object]:
    """Return the objects, each with apiVersion and kind, in the order in which they may be created."""
    objects: list[Object] = orjson.loads(_FILE.read_bytes())
    return objects
