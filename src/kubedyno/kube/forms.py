"""Documents for a terminal or a file: JSON, YAML, or KYAML, which every YAML parser reads and no one misreads."""

from typing import Any

import orjson

from kubedyno.kube import kyaml, yaml

JSON, YAML, KYAML = FORMS = ("json", "yaml", "kyaml")


def text_of(document: Any, form: str) -> str:
    """Return a document in one of `FORMS`, with the newline that ends it."""
    if form == JSON:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return kyaml.dump(document) if form == KYAML else yaml.dump(document)
