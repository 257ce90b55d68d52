"""What surrounds the work of every command: errors as one line, and the exit code.

Exit codes: 0 done, 2 something that the caller can mend, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, ParamSpec, TextIO, cast

from musicgen.errors import MusicGenError, one_line

Arguments = ParamSpec("Arguments")


def entry(interrupted: str = "interrupted") -> Callable[[Callable[Arguments, int | None]], Callable[Arguments, int]]:
    """Make a `main` of a function that raises: it returns the exit code.

    Args:
        interrupted: what Ctrl-C is answered with.
    """

    def decorate(work: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
        @functools.wraps(work)
        def main(*arguments: Arguments.args, **named: Arguments.kwargs) -> int:
            output, errors = (cast(TextIO, _Lasting(stream)) for stream in (sys.stdout, sys.stderr))
            with redirect_stdout(output), redirect_stderr(errors):
                try:
                    return int(work(*arguments, **named) or 0)
                except MusicGenError as error:
                    print(f"error: {error.told('shell')}", file=errors)
                    return 2
                except KeyboardInterrupt:
                    print(interrupted, file=errors)
                    return 130
                finally:
                    # Here and not at the interpreter's end, where a closed pipe would be a traceback.
                    output.flush()
                    errors.flush()

        return main

    return decorate


def joined(arguments: Sequence[str] | None, options: Sequence[str]) -> list[str]:
    """The arguments with values that begin with a negative number joined to their options: `--span=-4:0` for `--span -4:0`.

    Args:
        arguments: Of a command; None for those of the process.
        options: Their names, each of which takes a value.
    """
    found: list[str] = []
    for argument in sys.argv[1:] if arguments is None else arguments:
        if found and found[-1] in options and re.match(r"-[.\d]", argument):
            found[-1] = f"{found[-1]}={argument}"
        else:
            found.append(argument)
    return found


def warn(text: str) -> None:
    """Say in one line what is done all the same."""
    print(f"warning: {one_line(text)}", file=sys.stderr)


class _Lasting:
    """A standard stream on which printing never ends a command: what no reader takes is dropped, and characters that its
    encoding lacks are written as escapes. `generate … | head -1` still saves every clip."""

    def __init__(self, stream: TextIO | None) -> None:
        # Python has none where the shell closed it: `generate … >&-`.
        self._stream = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
