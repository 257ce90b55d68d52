"""What all commands share: parsing of arguments, errors as one line, and exit codes.

Exit codes: 0 success, 2 an error that the caller can correct, 130 interrupted.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TextIO, cast

from musicgen.errors import InputError, MusicGenError, one_line
from musicgen.suggestions import closest, did_you_mean

Arguments = ParamSpec("Arguments")


def entry(interrupted: str = "interrupted") -> Callable[[Callable[Arguments, int | None]], Callable[Arguments, int]]:
    """Make a `main` of a function that raises: it returns the exit code.

    Args:
        interrupted: what Ctrl-C is answered with.
    """

    def decorate(work: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
        @functools.wraps(work)
        def main(*arguments: Arguments.args, **named: Arguments.kwargs) -> int:
            output, errors = (cast(TextIO, _FailsafeStream(stream)) for stream in (sys.stdout, sys.stderr))
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


def program(script: str, module: str) -> str:
    """How the process was started, for usage and messages: "musicgen", or "python -m musicgen" where it was no script.

    Args:
        script: name of the installed console script.
        module: that does the same.
    """
    return script if Path(sys.argv[0]).stem == script else f"python -m {module}"


class Parser(argparse.ArgumentParser):
    """Arguments of a command. What is wrong with them is an InputError of one line, and a misspelt name is answered with the
    one that was meant; argparse itself prints the whole usage first. Parsers of subcommands are of this class, too."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of argparse. A name of an option that is none is said before what else it makes wrong: the option that is
        missing, or a value that is taken for another argument."""
        given = sys.argv[1:] if args is None else list(args)
        own = given[: given.index("--")] if "--" in given else given
        if self._subparsers is not None:
            # Behind a command stand its own arguments.
            first = next((i for i, argument in enumerate(own) if not argument.startswith("-")), None)
            if first is None and not own:
                self.error(f"name a command: {', '.join(self._commands())}")
            own = own[:first]
        for argument in own:
            name = argument.partition("=")[0]
            if self._looks_like_an_option(argument) and not self._is_option(name):
                known = [option for option in self._option_string_actions if option.startswith("--")]
                close = closest(name, known)
                self.error(f"unknown option {name}" + (f": did you mean {close}?" if close is not None else ""))
        return super().parse_known_args(given, namespace)

    def _looks_like_an_option(self, argument: str) -> bool:
        # As argparse sees it: "-3" is a number, "- a text" with a space is a text, and "-" alone is a file.
        return len(argument) > 1 and argument[0] == "-" and " " not in argument and not re.match(r"-\.?\d", argument)

    def _is_option(self, name: str) -> bool:
        options = self._option_string_actions
        if name.startswith("--"):
            return any(option.startswith(name) for option in options)  # argparse takes beginnings of names
        return name in options or name[:2] in options

    def _commands(self) -> list[str]:
        return [
            name
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name in action.choices
        ]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"unknown {value!r}: {did_you_mean(value, map(str, action.choices))}")


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


class _FailsafeStream:
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
