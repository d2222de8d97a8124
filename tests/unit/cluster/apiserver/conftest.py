import pytest

from unit.cluster.apiserver.harness import Api


@pytest.fixture
def api() -> Api:
    """An API server for requests that are answered at once."""
    return Api()
