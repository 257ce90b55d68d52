"""List the models that can be loaded by name: what they follow, how large they are, what is on this machine."""

from __future__ import annotations

import argparse

from musicgen import catalog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> None:
    from musicgen.checkpoint import hub

    rows = [("name", "follows", "channels", "weights", "size", "licence", "on this machine")]
    for name in catalog.embedded():
        size = sum(file.stat().st_size for file in (catalog.PRETRAINED / name).iterdir())
        rows.append((name, "", "", "", _megabytes(size), "MIT", "embedded"))
    for entry in catalog.PUBLISHED:
        here = "yes" if hub.cached(entry.name, "config.json") else "no"
        weights = f"{entry.lm_parameters / 1e6:.0f} M"
        rows.append(
            (entry.name, entry.follows, entry.channels, weights, _megabytes(entry.download_bytes),
             catalog.WEIGHTS_LICENCE, here)
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        "weights: of the language model; size: float32 files with text encoder and tokeniser. A folder works as a name too."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
