"""What tests need of the machine, and that they keep to it.

Where something is missing they are skipped, and fail in a run that must be complete. Whatever calls another machine fails.
"""

import contextlib
import os
import runpy
import shutil
from pathlib import Path

import pytest

complete = False
"""Whether pytest was given --complete."""
NOTES = "MUSICGEN_TESTS_REACHED"
"""The variable that names the file in which tests/guard notes what is called beyond this machine."""

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--complete", action="store_true", help="fail where the machine lacks a browser, a database or the soundfont"
    )


def pytest_configure(config: pytest.Config) -> None:
    global complete
    complete = config.getoption("--complete")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("randomly"):
        seed = config.option.randomly_seed
        terminalreporter.write_line(f'For this order of the tests again: make test ARGS="--randomly-seed={seed}"')


def watch(folder: Path) -> None:
    """From now on this process, and those that it starts, call this machine alone."""
    notes, guard = folder / "reached", str(Path(__file__).parent / "guard")
    notes.touch()
    os.environ[NOTES] = str(notes)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (guard, os.environ.get("PYTHONPATH"))))
    runpy.run_path(f"{guard}/sitecustomize.py")


@pytest.fixture(autouse=True)
def this_machine_alone():
    """Fails the test during which another machine is called, whatever becomes of the refusal."""
    notes = Path(os.environ[NOTES])
    before = notes.stat().st_size
    yield
    called = notes.read_text()[before:].splitlines()
    if called:
        pytest.fail(f"the test reaches beyond this machine: {'; '.join(dict.fromkeys(called))}", pytrace=False)


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
        lacks("playwright is not installed (pip install musicgen[dev])")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacks("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*CHROMIUM_FLAGS, *flags])
        yield browser
        browser.close()
