"""What holds for all tests: none enters anything into the user's own run store, and no outcome is a matter of chance."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A machine that does other things too makes no example wrong, and a run has the examples of the run before.
settings.register_profile("kubedyno", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# Others, for who looks for them: `./test --hypothesis-profile=search`.
settings.register_profile("search", settings.get_profile("kubedyno"), derandomize=False)
settings.load_profile("kubedyno")


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("kubedyno-home"))
    yield
    if before is None:
        del os.environ["KUBEDYNO_HOME"]
    else:
        os.environ["KUBEDYNO_HOME"] = before
