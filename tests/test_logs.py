"""What strangers send forges no line of a program's log."""

import io
import logging
import re

import pytest

from musicgen import logs

FORGED = "x\n2026-01-01 INFO admin logged in\r\x1b[2J\u2028ERROR y"


@pytest.fixture
def written(monkeypatch):
    """A logger whose records are made as in the programs, and what it has written."""
    factory = logging.getLogRecordFactory()
    logs.use_one_line_records()
    text, logger = io.StringIO(), logging.getLogger("tests.log")
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    yield logger, text
    logger.removeHandler(handler)
    logging.setLogRecordFactory(factory)


def test_a_message_is_one_line(written):
    logger, text = written
    logger.error("not found: %s", FORGED)
    logger.error("ends with a line break\n")
    assert text.getvalue().splitlines() == [
        r"ERROR not found: x\n2026-01-01 INFO admin logged in\r\x1b[2J\u2028ERROR y",
        "ERROR ends with a line break",
    ]


def test_a_traceback_forges_no_record(written):
    logger, text = written
    try:
        try:
            raise KeyError(FORGED)
        except KeyError as error:
            raise ValueError(FORGED) from error
    except ValueError:
        logger.exception("failed: %s", FORGED)
    first, *rest = text.getvalue().splitlines()
    assert first.startswith(r"ERROR failed: x\n2026")
    assert all(line.startswith("  ") for line in rest)
    assert any("Traceback" in line for line in rest)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text.getvalue())
