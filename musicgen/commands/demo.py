"""Serve the demo page for the browser."""

from __future__ import annotations

import argparse
import os

from musicgen import siblings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    siblings.load("demo.configuration").add_arguments(parser, os.environ)


def run(arguments: argparse.Namespace) -> None:
    configuration = siblings.load("demo.configuration").from_arguments(arguments)
    siblings.load("demo.start").run(configuration, os.environ)
