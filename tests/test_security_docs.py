"""docs/security.md names a test for each promise: each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "security.md"
FOLDERS = {
    "## The page": "tests/demo",
    "## The API": "tests/serving",
    "## The study server": "tests/human_study",
    "## Attacks and their tests": "tests",
}
"""Heading -> where the files are that its section names without a folder."""
FILES = {
    "## The page": "test_security.py",
    "## The API": "test_web.py",
    "## The study server": "test_security.py",
    "## Files that others wrote": "tests/test_hostile_files.py",
}
"""Heading -> the file of the tests that its section names without one."""
WORD = re.compile(r"`([\w./-]+\.(?:py|yml)|test_\w+)`")


def functions(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def cells() -> list[tuple[str, str]]:
    """(heading, the last cell) of each row of a table, the heads left out."""
    heading, found = "", []
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            heading = line
        elif line.startswith("|") and not re.match(r"\|[-|]+$", line):
            found.append((heading, line.rstrip("| ").rpartition("|")[2]))
    return [cell for cell in found if cell[1].strip() != "tests"]


def test_every_promise_names_tests_that_exist() -> None:
    """Semicolons part the files of a cell; a file without a test after it stands for all of its tests."""
    rows = cells()
    assert len(rows) > 60
    for heading, cell in rows:
        assert WORD.search(cell), f"no test in: {cell}"
        for part in cell.split(";"):
            file = FILES.get(heading, "")
            for word in WORD.findall(part):
                file = word if "." in word else file
                outside = file.startswith(("tests/", ".github/"))
                path = ROOT / ("" if outside else FOLDERS.get(heading, "")) / file
                assert path.is_file(), (word, path)
                assert "." in word or word in functions(path), f"{path} has no {word}"
