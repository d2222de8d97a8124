"""What holds for all tests: no test enters anything into the user's own run store."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("kubedyno-home"))
    yield
    if before is None:
        del os.environ["KUBEDYNO_HOME"]
    else:
        os.environ["KUBEDYNO_HOME"] = before
