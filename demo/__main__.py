"""python -m demo, python app.py and python -m musicgen demo: serve the page until the program is interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from musicgen import commandline

from . import configuration, start


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    start.run(configuration.parse(sys.argv[1:] if arguments is None else arguments, os.environ), os.environ)


if __name__ == "__main__":
    sys.exit(main())
