"""Tests with real packets: as root, each in namespaces that it makes; without, they are skipped with the reason."""

import os

import pytest

from kubedyno.kernel.netns import Namespace


def _why_not() -> str:
    if os.geteuid() != 0:
        return "needs root: network namespaces and eBPF programs"
    try:
        Namespace().close()
    except OSError as error:
        return f"no network namespace can be made here: {error.strerror}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if "tests/netns/" in item.path.as_posix()]
    if ours and (why := _why_not()):
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def features():
    from kubedyno.kernel.probe import probe

    return probe()


@pytest.fixture
def needs(features):
    """Skip a test when this kernel lacks what it needs, with the kernel's words."""

    def check(*paths):
        from kubedyno.datapath.findings import missing_of

        for missing in missing_of(features, list(paths)).values():
            pytest.skip(f"{missing.what}: {'; '.join(missing.why)}")

    return check
