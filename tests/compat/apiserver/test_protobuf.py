"""Objects of nearly every kind as a real server answered them: as JSON, and as the message that they are in protobuf."""

from base64 import b64decode

import pytest

from compat.apiserver.replay import rows
from kubedyno.kube import protobuf

ROWS = [pytest.param(row, id=row["name"]) for row in rows("protobuf")]
# Its templates of claims say what they are in JSON alone.
READ = [row for row in ROWS if "-statefulset-" not in str(row.id)]


@pytest.mark.parametrize("row", ROWS)
def test_the_message_is_the_recorded_one_byte_for_byte(row):
    assert protobuf.encode(row["document"]).hex() == b64decode(row["message"]).hex()


@pytest.mark.parametrize("row", READ)
def test_the_recorded_message_reads_as_the_recorded_json(row):
    assert without_nothing(protobuf.decode(b64decode(row["message"]))) == without_nothing(row["document"])


def without_nothing(value: object) -> object:
    """Return a value without members that are null, "" or an empty list: a message does not tell them from none."""
    if isinstance(value, dict):
        members = {name: without_nothing(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member not in (None, "", [])}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value
