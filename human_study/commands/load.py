"""Load test of a study that is running on this machine, with simulated raters; prints percentiles of the time to store a
page."""

from __future__ import annotations

import argparse

from musicgen.errors import one_line
from musicgen.text_format import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="http://127.0.0.1:8600")
    parser.add_argument("--raters", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between a rater's pages")


def run(arguments: argparse.Namespace) -> int:
    import asyncio

    from ..web import load_test

    tally = asyncio.run(load_test.run(arguments.url, arguments.raters, arguments.seconds, arguments.every))
    times = ", ".join(f"p{share * 100:g} {tally.percentile(share) * 1000:.0f} ms" for share in (0.5, 0.95, 0.99, 1.0))
    stored = f"{counted(len(tally.seconds), 'page')} stored: {times}" if tally.seconds else "no page stored"
    print(f"{counted(arguments.raters, 'rater')}, {stored}, {counted(len(tally.errors), 'error')}")
    for error in sorted(set(tally.errors))[:5]:
        print(one_line(f"  {error}"))
    return 1 if tally.errors else 0
