"""A subclass of Gradio's Blocks that accepts only files of the clip store in requests, and empty number fields.

A request names a file by its path. Gradio would download a URL in place of a path, without a limit on its length, and its error
messages would reveal paths on the server.
"""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState

from musicgen.errors import InputError, MusicGenError
from musicgen.serving.clip_store import ClipStore

from . import messages
from .failures import FailureLog

log = logging.getLogger(__name__)


class Page(gr.Blocks):
    """The page.

    Args:
        store: holds the uploads.
        arguments: of `gr.Blocks`.
    """

    def __init__(self, store: ClipStore, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._store = store
        self._failures = FailureLog(log)

    async def process_api(self, block_fn: BlockFunction | int, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Run an event. Raises gr.Error for all that fails: of other errors Gradio prints the traceback of each."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if function.fn is None:
            raise messages.to_gradio_error(
                InputError("this is done by the browser: there is nothing to call on the server")
            )
        try:
            return await super().process_api(block_fn, *arguments, **named)
        except gr.Error:
            raise
        except MusicGenError as error:
            refusal = messages.to_gradio_error(error)
        except Exception as error:
            self._failures.add("an event failed", str(getattr(block_fn, "api_name", block_fn)), error)
            refusal = gr.Error("something went wrong on the server; its log says what", print_exception=False)
        raise refusal

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """The inputs of an event as its handler takes them. Raises gr.Error for what cannot be taken, in one line: of other
        errors Gradio prints the traceback, with all that a stranger has sent, past the log."""
        check_files(inputs, self._store)
        # A slider whose number a visitor has emptied, to type another one, has its first value until then.
        inputs = [
            block.value if value is None and isinstance(block, gr.Slider) else value
            for value, block in zip(inputs, block_fn.inputs, strict=False)
        ] + inputs[len(block_fn.inputs) :]
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error as error:
            reason = str(error.message)
        except Exception as error:
            reason = f"an input cannot be read: {error}"
        raise messages.to_gradio_error(InputError(reason))

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list | dict, state: SessionState | None
    ) -> list[Any]:
        """The outputs of an event as the page takes them. Raises gr.Error where the disk has no room for Gradio's copies."""
        try:
            return await super().postprocess_data(block_fn, predictions, state)
        except OSError as error:
            log.error("an output cannot be given out: %s", error)
            reason = (
                f"the server cannot give out the result ({error.strerror or 'an error of its disk'}): try again later"
            )
        raise messages.to_gradio_error(InputError(reason))


def check_files(inputs: Any, store: ClipStore) -> None:
    """Refuse inputs with a file that is not in the store.

    Args:
        inputs: JSON.
        store: holds the uploads.

    Raises:
        gr.Error: there is one.
    """
    waiting = [inputs]
    while waiting:  # not by recursion: JSON may be nested deeper than Python's stack
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
            meta = value.get("meta")
            if isinstance(meta, dict) and meta.get("_type") == "gradio.FileData":
                path = value.get("path")
                if not (isinstance(path, str) and store.holds(path)):
                    raise messages.to_gradio_error(
                        InputError(
                            "a file of the request is not on the server: upload it, again if that was some hours ago "
                            "(addresses are not fetched)"
                        )
                    )
        elif isinstance(value, list):
            waiting.extend(value)
