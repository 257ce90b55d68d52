"""Serve the demo page for the browser."""

from __future__ import annotations

import argparse
import os

from musicgen import optional_packages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    optional_packages.load("demo.configuration").add_arguments(parser, os.environ)


def run(arguments: argparse.Namespace) -> None:
    configuration = optional_packages.load("demo.configuration").from_arguments(arguments)
    optional_packages.load("demo.start").run(configuration, os.environ)
