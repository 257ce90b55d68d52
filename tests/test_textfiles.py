"""Text files mean the same on every machine, whatever program wrote them."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import textfiles
from musicgen.errors import InputError

TEXT = "café ✓ line\u2028break\u0085 and \x1c so on"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    file.write_bytes((mark + TEXT).encode(encoding))
    assert textfiles.read(file) == TEXT
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert textfiles.read(file) == TEXT


def test_the_locale_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Häuser", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from musicgen import textfiles; "
        "assert textfiles.read(Path(sys.argv[1])) == 'H\\xe4user'; "
        "'utf' not in open(sys.argv[1]).encoding.lower() or sys.exit(3)"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], env=environment, capture_output=True)
    assert result.returncode in (0, 3), result.stderr
    assert result.returncode == 0, "this locale is UTF-8, so the test shows nothing"


def test_what_is_no_text_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for content, message in (
        ("café".encode("latin-1"), "no UTF-8 text at byte 3"),
        (gzip.compress(b"text" * 100)[:-9], "cannot be read"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            textfiles.read(file)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        textfiles.read(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot be read"):
        textfiles.read(tmp_path / "a\0b")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.none() | st.integers(), min_size=1), max_size=4), st.booleans())
def test_lines_of_json_come_back(values: list, windows: bool) -> None:
    """Also with U+2028, U+2029, U+0085 and U+001C inside texts, which str.splitlines takes for line ends."""
    file = Path(os.environ["HF_HOME"]) / "lines.jsonl"
    end = "\r\n" if windows else "\n"
    file.write_bytes(end.join(json.dumps(value, ensure_ascii=False) for value in values).encode())
    assert [value for _, value in textfiles.json_lines(file)] == values


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS).filter(any), max_size=4), st.sampled_from(",;\t"))
def test_tables_come_back(rows: list, delimiter: str) -> None:
    """As Python's own writer of CSV writes them."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows([("file_name", "caption"), *rows])
    file = Path(os.environ["HF_HOME"]) / "table.csv"
    file.write_bytes(buffer.getvalue().encode("utf-8-sig"))
    assert [tuple(row.values()) for row in textfiles.table(file)] == rows


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for line in ("{", "[" * 100_000, "1" * 5_000):
        file.write_text(f'{{"a": 1}}\n\n{line}\n', encoding="utf-8")
        with pytest.raises(InputError, match=r"a\.jsonl:3: not JSON") as caught:
            list(textfiles.json_lines(file))
        assert "\n" not in str(caught.value)


def test_rows_of_other_lengths_than_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('file_name, caption\na.wav\nb.wav,"one, two",three\n', encoding="utf-8")
    rows = textfiles.table(tmp_path / "a.csv")
    assert rows == [{"file_name": "a.wav", "caption": ""}, {"file_name": "b.wav", "caption": "one, two"}]
    (tmp_path / "a.csv").write_text("a\n" + "x" * 200_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"not a table \(field larger than field limit"):
        textfiles.table(tmp_path / "a.csv")
