"""python -m demo, python app.py and python -m musicgen demo: serve the page until it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from musicgen import commandline, extras

from . import configuration
from .configuration import Configuration

if TYPE_CHECKING:
    import gradio as gr

    from .service import Service


def build(chosen: Configuration) -> tuple[gr.Blocks, Service]:
    """The page and the service behind it."""
    with extras.needed("demo", "the page"):
        from . import ui
        from .service import Service

        service = Service(chosen)
        return ui.build(service), service


def serve(chosen: Configuration) -> None:
    """Serve the page until it is interrupted."""
    page, service = build(chosen)
    from . import ui

    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The page answers first; PyTorch and the model, which take longer, are loaded behind it.
    ui.launch(page, service, prevent_thread_lock=True)
    warming = service.warm_up()
    page.block_thread()  # until it is interrupted
    warming.join(20)  # libraries that are being loaded do not survive the end of the process
    service.close()


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    serve(configuration.read(sys.argv[1:] if arguments is None else arguments, os.environ))


if __name__ == "__main__":
    sys.exit(main())
