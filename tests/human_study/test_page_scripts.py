"""The page's arithmetic of listening, run by Node without a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import machine

COVERAGE = Path(__file__).parents[2] / "human_study" / "web" / "static" / "coverage.js"


def run(expression):
    node = shutil.which("node")
    if node is None:
        machine.lacks("Node is not installed (Debian: apt install nodejs)")
    script = f"import * as c from {json.dumps(COVERAGE.as_uri())}; console.log(JSON.stringify({expression}))"
    done = subprocess.run(
        [node, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("c.add([], 1, 2)", [[1, 2]]),
        ("c.add([[1, 2]], 2, 3)", [[1, 3]]),
        ("c.add([[1, 2], [5, 6]], 3, 4)", [[1, 2], [3, 4], [5, 6]]),
        ("c.add([[1, 2], [5, 6]], 1.5, 5.5)", [[1, 6]]),
        ("c.add([[1, 2]], 3, 3)", [[1, 2]]),
        ("c.total([[0, 1], [2, 4.5]])", 3.5),
        ("c.played(1, 2, 0, 10)", [[1, 3]]),
        ("c.played(9, 2, 0, 10)", [[9, 10], [0, 1]]),
        ("c.played(3, 50, 2, 5)", [[2, 5]]),
        ("c.played(0, 3, 1, 2)", [[0, 1], [1, 2]]),
        ("c.played(4, 0, 0, 10)", []),
        ("c.moved(9, 2, 0, 10)", 1),
        ("c.moved(4.5, 3, 4, 5)", 4.5),
    ],
)
def test_coverage(expression, expected):
    assert run(expression) == expected
