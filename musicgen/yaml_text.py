"""Safe reading of untrusted YAML: plain values only, and a limit on their number.

With aliases, a text of a kilobyte can expand to billions of values when it is printed or copied ("billion laughs"), so the
values of an alias count each time it is used.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_VALUES = 1_000_000
"""The limit; the values of an alias count each time it is used."""


class BadValue(yaml.YAMLError):
    """A text stands for more values than MOST_VALUES, for one that holds itself, or for one that is none (a 13th month)."""


class BadText(yaml.YAMLError):
    """A text is no YAML: the line and column, what is wrong there, and within what."""


def parse(text: str) -> Any:
    """What a YAML text stands for: mappings, lists, texts, numbers, dates; no objects of Python.

    Args:
        text: one document.

    Raises:
        yaml.YAMLError: it is no such text; the message names the line and the column.
    """
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        raise BadText(_unreadable(error, text)) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise BadText(_described(error)) from error
    except RecursionError as error:
        raise BadValue("nested too deeply") from error
    # PyYAML lets the errors of Python's own types through.
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise BadValue(str(error)) from error
    finally:
        loader.dispose()


def _unreadable(error: yaml.reader.ReaderError, text: str) -> str:
    before = text[: error.position]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"line {line}, column {column}: the character {text[error.position : error.position + 1]!a} is not allowed"


def _described(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    within = f" {error.context}" if error.context else ""
    if error.context_mark is not None and error.context_mark is not mark:
        within += f" that begins in line {error.context_mark.line + 1}, column {error.context_mark.column + 1}"
    return f"{place}{error.problem or 'damaged'}{within}"


def _count(node: yaml.Node, counted: dict[int, int], above: set[int]) -> int:
    """The number of values that a node stands for. counted: of nodes that were met; above: the nodes that hold this one."""
    key = id(node)
    if key in above:
        raise BadValue("a value holds itself (an alias within its own anchor)")
    if key in counted:
        return counted[key]
    above.add(key)
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    total = 1 + sum(_count(part, counted, above) for part in inner)
    above.discard(key)
    if total > MOST_VALUES:
        raise BadValue(f"aliases make more than {MOST_VALUES} values of it")
    counted[key] = total
    return total
