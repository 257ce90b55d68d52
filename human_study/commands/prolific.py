"""The study on Prolific: create a draft, show its status, publish, pause. PROLIFIC_TOKEN holds the API token."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .common import public_url, whole_number

ACTIONS = ("create", "status", "publish", "pause", "start", "stop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("study", help="study folder for `create`, otherwise Prolific's id of the study")
    parser.add_argument("--public-url", default="", metavar="URL", help="the address that raters see (create)")
    parser.add_argument("--places", type=whole_number(1, 10_000), default=10, help="number of raters to pay (create)")


def run(arguments: argparse.Namespace) -> None:
    from ..design import manifest
    from ..sessions import prolific

    client = prolific.ProlificClient(os.environ.get("PROLIFIC_TOKEN", ""))
    if arguments.action == "create":
        study = manifest.read(Path(arguments.study))
        print(client.create_study(study.settings, public_url(arguments.public_url), arguments.places))
        print("created as a draft: check it on Prolific, then publish it")
    elif arguments.action == "status":
        print(", ".join(f"{name}: {value}" for name, value in client.status(arguments.study).items()))
    else:
        print(client.transition(arguments.study, arguments.action.upper()))
