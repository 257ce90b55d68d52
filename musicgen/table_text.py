"""Tables as CSV, Markdown, LaTeX and terminal columns. Cells are escaped, so that they cannot become formulas, markup, commands
or further lines.

System names, prompts, answers of raters and reasons in a table are untrusted. Programs that read the files (spreadsheets,
Markdown renderers, TeX) would otherwise interpret them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from musicgen.errors import one_line

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters that make a spreadsheet evaluate a cell (OWASP, "CSV injection")."""

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
"""A number in a cell."""

_MARKDOWN = re.compile(
    r"[\\`*~|]"  # escapes, code, emphasis, strikethrough, the borders of cells
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # emphasis; not the underscore within a name
    r"|<(?=[A-Za-z/!?])"  # tags and addresses
    r"|\](?=[\[(:])"  # links and images
    r"|&(?=#?[A-Za-z0-9]+;)"  # entities
)
_BLOCK = re.compile(r"(?=[#>+=-])|[0-9]{1,9}(?=[.)])")
"""The beginning of a heading, quotation, list or rule; a backslash behind it takes its meaning from it."""

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # A row that begins with one of these would be an argument of the line break before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
    # `` and '' are quotation marks, ?` and !` Spanish ones.
    '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "±": r"$\pm$", "−": "$-$", "∞": r"$\infty$", "–": "--",
}  # fmt: skip


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], end: str = "\r\n") -> str:
    """Write a table as CSV.

    Text that a spreadsheet would evaluate as a formula gets an apostrophe in front, in the header, too; numbers stay numbers,
    also negative ones.

    Args:
        header: names of the columns.
        rows: cells in the order of the columns; None is an empty cell.
        end: of a line; that of RFC 4180 unless programs of the shell read it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow([_csv_cell(name) for name in header])
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def plain_cell(text: str) -> str:
    """A cell that `write_csv` wrote, without the apostrophe that keeps it from being a formula."""
    return text[1:] if text[:1] == "'" and _is_formula(text) else text


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table as lines of a terminal: each column as wide as its widest cell, and two spaces between them.

    Args:
        rows: cells, as many in each row. The last column is as long as it is.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown (GFM), the header first, each row in a line.

    Args:
        rows: cells, which are taken for plain text.
    """
    lines = ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    """Plain text within a line of Markdown: a renderer shows it as it is, line breaks and control characters as escapes."""
    return _MARKDOWN.sub(lambda found: "\\" + found[0], one_line(text))


def markdown_paragraph(text: str) -> str:
    """Plain text as a paragraph of Markdown."""
    line = markdown(text).strip()
    begun = _BLOCK.match(line)
    return line if begun is None else f"{begun[0]}\\{line[begun.end() :]}"


def latex(text: str) -> str:
    """Plain text in a paragraph or a cell of LaTeX (textcomp, which LaTeX has since 2020): no commands, line breaks and control
    characters as escapes."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def latex_comment(text: str) -> str:
    """Plain text as a comment of LaTeX, which ends with its line."""
    return f"% {one_line(text)}"


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str) and _is_formula(value):
        return "'" + value
    return "" if value is None else value


def _is_formula(text: str) -> bool:
    # Also where apostrophes stand in front: one is added, and one is taken away again.
    bare = text.lstrip("'")
    return bare.startswith(FORMULA_STARTS) and (bare != text or not NUMBER.fullmatch(bare))
