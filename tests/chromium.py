"""Chromium as tests, benchmarks and the pictures of ``docs/`` drive it: the one of this machine, through Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


def missing() -> str | None:
    """What is needed and is not there; None if a browser can be driven."""
    if find_spec("playwright") is None:
        return "Playwright is not installed"
    return None if CHROMIUM else "no Chromium is installed"


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser for one block; ``arguments`` are its command-line options."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*arguments])
        yield browser
        browser.close()
