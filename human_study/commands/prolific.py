"""The study on Prolific: a draft, its status, publishing and pausing. The token comes from PROLIFIC_TOKEN."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ACTIONS = ("create", "status", "publish", "pause", "start", "stop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("study", help="the built study for `create`, Prolific's id of the study otherwise")
    parser.add_argument("--public-url", default="", metavar="URL", help="the address that raters see (create)")
    parser.add_argument("--places", type=int, default=10, help="raters to pay (create)")


def run(arguments: argparse.Namespace) -> None:
    from ..design import manifest
    from ..sessions import prolific

    client = prolific.ProlificClient(os.environ.get("PROLIFIC_TOKEN", ""))
    if arguments.action == "create":
        study = manifest.read(Path(arguments.study))
        print(client.create_study(study.settings, arguments.public_url, arguments.places))
        print("a draft: look at it on Prolific, then publish it")
    elif arguments.action == "status":
        print(", ".join(f"{name}: {value}" for name, value in client.status(arguments.study).items()))
    else:
        print(client.transition(arguments.study, arguments.action.upper()))
