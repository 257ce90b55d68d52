"""Cells of tables that are written: readers of the files show what was in them, and run none of it."""

import csv
import html
import io
import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from musicgen import table_text
from musicgen.errors import one_line

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](http://x/y)", "a|b|c",
    "a\nb", "a\r\n\r\n# b", "\u2028x", "`code`", "**bold** _x_ a_b ~~x~~", "\\", "a\\", "\\|", "&lt;b&gt;", "[x]: http://y",
    "# x", "1. x", "- x", "+ x", "> x", "===", "---", "~~~", "    x", "<http://x>", "\x1b[31m", "$x$", "^^M", "%",
    "\\input{/etc/passwd}", "=1+1", "@SUM(1)", "[2pt]", "*", "''", "100 %", "±1.5", "fad_vggish_tf", "3.20 [3.10, 3.30]",
    "p < 0.001",
]  # fmt: skip
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=30) | st.text("|\\`*_<>[]()&#!~=-+1.$ \n", max_size=12)
RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def shown(text: str) -> str:
    """What a page shows of a cell: the ends are trimmed."""
    return one_line(text).strip()


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_markdown_shows_cells_as_they_are(rows):
    page = RENDERER.render(table_text.markdown_table([("system", "value"), *rows]))
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [shown(cell) for row in rows for cell in row]
    assert not any("<" in cell for cell in cells)


@given(TEXTS)
def test_a_paragraph_of_markdown_is_text(text):
    page = RENDERER.render(f"Before.\n\n{table_text.markdown_paragraph(text)}\n\nBehind.\n")
    inner = page.removeprefix("<p>Before.</p>\n").removesuffix("<p>Behind.</p>\n")
    assert html.unescape(inner) == (f"<p>{shown(text)}</p>\n" if shown(text) else "")


def test_names_and_intervals_are_readable_in_a_terminal():
    for text in ("fad_vggish_tf", "3.20 [3.10, 3.30]", "p < 0.001", "50.00±2.10", "musicgen (small), 0.8"):
        assert table_text.markdown(text) == text


COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"', r"\textasciigrave{}": "`",
    r"\textquotesingle{}": "'", r"\{": "{", r"\}": "}",
    r"\&": "&", r"\%": "%", r"\#": "#", r"\_": "_", r"\$": "$", "{[}": "[", "{]}": "]", "{*}": "*", r"$\pm$": "±", "$-$": "−",
    r"$\infty$": "∞",
}  # fmt: skip
TOKEN = re.compile(
    "|".join(re.escape(command) for command in COMMANDS) + r"|[^\\{}&%#_$~^<>|\"`'*\[\]\x00-\x1f\x7f-\x9f]"
)
"""What may stand in LaTeX: one of these commands, or a character that has no meaning of its own."""


@given(TEXTS)
def test_latex_consists_of_text_and_no_further_command(text):
    written = table_text.latex(text)
    assert TOKEN.sub("", written) == ""
    read = "".join(COMMANDS.get(token, token) for token in TOKEN.findall(written))
    assert read == one_line(text).replace("–", "--")


@given(TEXTS)
def test_a_comment_of_latex_is_one_line(text):
    written = table_text.latex_comment(text)
    assert written.startswith("% ")
    assert len(written.splitlines()) == 1


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=3))
def test_csv_holds_no_formula_and_comes_back(rows):
    # Zero bytes and lone carriage returns are what `csv` itself reads in two ways.
    rows = [tuple(cell.replace("\0", "") for cell in row) for row in rows]
    written = table_text.write_csv(("=a", "b"), rows)
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert read[0] == ["'=a", "b"]
    assert [tuple(map(table_text.plain_cell, row)) for row in read[1:]] == rows
    for cell in (cell for row in read for cell in row):
        assert not cell.startswith(table_text.FORMULA_STARTS) or table_text.NUMBER.fullmatch(cell)


def test_numbers_of_csv_stay_numbers():
    assert table_text.write_csv(("a", "b"), [(-1.5, "-2"), (None, 0)]) == "a,b\r\n-1.5,-2\r\n,0\r\n"
