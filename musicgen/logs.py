"""Logging for servers: text from clients is escaped, so that it can neither forge log lines nor send control sequences to a
terminal."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

from musicgen.errors import one_line

_LINES = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class OneLineRecord(logging.LogRecord):
    """A record whose message is one line. The lines of its traceback, whose last ones quote the error's text, are indented, so
    that none looks like a record."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        if self.exc_info and self.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*self.exc_info)).rstrip()
            self.exc_text = "\n".join(f"  {one_line(line)}" for line in _LINES.split(text))

    def getMessage(self) -> str:
        return one_line(super().getMessage().rstrip("\n"))


def use_one_line_records() -> None:
    """Make all records of this process, those of libraries included, OneLineRecords."""
    logging.setLogRecordFactory(OneLineRecord)
