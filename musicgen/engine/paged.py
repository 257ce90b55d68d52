"""Rows of many clips on the CPU, stepped by the compiled graph (`graph.py`): same interface as `pool.Pool`.

Keys and values are allocated once, in blocks; every row owns as many as its longest clip can fill, so a clip that joins or
leaves moves nothing. Where the weights have 8 or 4 bits, so have keys and values 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from musicgen.engine.graph import EMPTY
from musicgen.engine.homes import HomePool, Text
from musicgen.lm import LanguageModel

if TYPE_CHECKING:
    import openvino

BLOCK = 32
"""Positions of a block."""


class PagedPool(HomePool):
    """A clip's text may be of any length."""

    def __init__(self, compiled: openvino.CompiledModel, lm: LanguageModel, rows: int, capacity: int) -> None:
        import openvino

        super().__init__(lm, rows, capacity)
        self._tensor = openvino.Tensor
        self._blocks_of_a_row = -(-capacity // BLOCK)
        self._request = compiled.create_infer_request()
        self._held: dict[str, np.ndarray] = {}
        self._stores: list[openvino.Tensor] = []
        for port in compiled.inputs:
            if "_cache." in port.get_any_name():
                shape = [
                    rows * self._blocks_of_a_row,
                    *(dim.get_length() for dim in list(port.get_partial_shape())[1:]),
                ]
                # Zeros of the operating system: pages are taken when they are first written.
                zeros = np.zeros(int(np.prod(shape)) * port.get_element_type().size, dtype=np.uint8)
                self._held[port.get_any_name()] = zeros
                store = openvino.Tensor(zeros, openvino.Shape(shape), port.get_element_type())
                self._request.set_tensor(port, store)
                self._stores.append(store)

    @property
    def bytes(self) -> int:
        return sum(store.byte_size for store in self._stores)

    def _read_text(self, text: Text, homes: list[int]) -> None:  # noqa: ARG002
        self._enter_texts([text])

    def _read_texts(self) -> None:
        if self._texts:
            self._enter_texts(list(self._texts.values()))

    def _enter_texts(self, texts: list[Text]) -> None:
        """The clips' texts, one under the other, padded to the longest."""
        rows, longest = sum(mask.shape[0] for _, mask in texts), max(mask.shape[1] for _, mask in texts)
        layers, _, _, heads, _, head = texts[0][0].shape
        keys, values = torch.zeros(layers, rows, heads, head, longest), torch.zeros(layers, rows, heads, longest, head)
        scores = torch.full((rows, 1, 1, longest), EMPTY)
        row = 0
        for projected, mask in texts:
            end, length = row + mask.shape[0], mask.shape[1]
            keys[:, row:end, ..., :length] = projected[:, 0].transpose(-1, -2) * head**-0.5
            values[:, row:end, :, :length] = projected[:, 1]
            scores[row:end, 0, 0, :length] = torch.where(mask, 0.0, EMPTY)
            row = end
        for layer in range(layers):
            self._set(f"cross_key.{layer}", keys[layer].numpy())
            self._set(f"cross_value.{layer}", values[layer].numpy())
        self._set("cross_mask", scores.numpy())

    def _infer(self, x: torch.Tensor, entering: list[int], past: list[int], homes: list[int]) -> torch.Tensor:
        filled = np.array(past, dtype=np.int32) + np.array(entering, dtype=np.int32)
        needed = -(-filled // BLOCK)
        begins = np.concatenate([[0], np.cumsum(entering)]).astype(np.int32)
        blocks = [home * self._blocks_of_a_row + np.arange(count) for home, count in zip(homes, needed, strict=True)]
        self._set("x", x.contiguous().numpy())
        self._set("past", np.array(past, dtype=np.int32))
        self._set("begins", begins)
        self._set("blocks", np.concatenate(blocks).astype(np.int32))
        self._set("block_begins", np.concatenate([[0], np.cumsum(needed)]).astype(np.int32))
        self._set("longest", np.array(filled.max(), dtype=np.int32))
        self._set("last", begins[1:] - 1)
        self._request.infer()
        config = self.lm.config
        logits = torch.from_numpy(self._request.get_output_tensor(0).data)
        return logits.view(-1, config.num_codebooks, config.codebook_size).clone()

    def _set(self, name: str, values: np.ndarray) -> None:
        self._held[name] = values  # the request reads it where it is
        self._request.set_tensor(name, self._tensor(values, shared_memory=values.ndim > 0))
