"""What tests need of the machine: where it is missing they are skipped, and fail in a run that must be complete."""

import contextlib
import shutil

import pytest

complete = False
"""Whether pytest was given --complete."""

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required",
]


def lacks(reason: str) -> None:
    """Skips the test, or fails it in a complete run."""
    if complete:
        pytest.fail(f"a complete run skips nothing: {reason}", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def chromium(*flags: str):
    """Debian's Chromium, driven by Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacks("playwright is not installed (pip install -r requirements-dev.txt)")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacks("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*CHROMIUM_FLAGS, *flags])
        yield browser
        browser.close()
