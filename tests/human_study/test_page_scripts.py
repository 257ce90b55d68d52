"""The page's arithmetic of listening, run by Node without a browser."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from human_study import listening
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
        ("c.add([[0, 2.89]], 2.99966, 3)", [[0, 2.89]]),
        ("c.add([[0, 2.9]], 2.9, 2.90044)", [[0, 2.9]]),
        ("c.tidy([[0, 2.89], [2.99966, 3]], 3)", [[0, 2.89]]),
        ("c.tidy([[3, 3], [2, 2.5], [-1, 1.0004], [2.51, 3.2]], 3)", [[0, 1], [2, 3]]),
        ("c.share([[0, 1], [2, 2.94]], 3)", 1.94 / 3),
        ("c.share([[0, 2.999]], 2.9994)", 1),
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


def test_page_and_server_count_alike():
    """Random listening to clips of any length: the page's intervals and share are those that the server finds in them."""
    draw = random.Random(0)
    cases = []
    for _ in range(300):
        length = draw.uniform(0.4, 30)
        ends = [sorted(draw.uniform(0, length) for _ in range(2)) for _ in range(draw.randint(0, 12))]
        ends += [[draw.uniform(length - 0.001, length), length]]
        cases.append([draw.sample(ends, len(ends)), length])
    found = run(f"{json.dumps(cases)}.map(([s, l]) => [c.tidy(s, l), c.share(c.tidy(s, l), l)])")
    for (spans, share), (raw, length) in zip(found, cases, strict=True):
        assert [tuple(span) for span in spans] == listening.union(spans, length)
        assert share == listening.share(listening.union(spans, length), length)
        # The page closes gaps of up to 30 ms, which come from the resolution of the clock.
        exact = listening.share(listening.union(raw, length), length)
        assert exact - 1e-9 <= share <= exact + len(raw) * 0.031 / length
