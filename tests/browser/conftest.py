"""The tests' browser; they are skipped where there is none."""

from collections.abc import Iterator

import pytest

from browser.webdriver import Browser, installed, opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = installed()
    if found is None:
        pytest.skip("no chromium and chromedriver: install the distribution's chromium and chromium-driver")
    with opened(*found) as browser:
        yield browser
