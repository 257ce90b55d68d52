"""A slot pool on the CPU that runs the OpenVINO graph (`lm`) with paged attention.

The KV cache is allocated once, in blocks; every cache row owns as many blocks as its capacity needs, so no block is
ever moved or shared. It is uint8 where the weights are int8 or int4, else in the model's precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from musicgen.engine.slot_pool import MASKED_SCORE, CpuPool, CrossKeyValues
from musicgen.lm import LanguageModel

if TYPE_CHECKING:
    import openvino

BLOCK_SIZE = 32
"""Positions per block of the KV cache."""


class OpenVinoPool(CpuPool):
    """A `SlotPool` whose cross-attention conditions may have any length.

    Args:
        compiled: The compiled graph of `lm`.
        lm: The language model, for its embeddings.
        rows: Number of rows.
        capacity: Positions per row, prefix included.
    """

    def __init__(self, compiled: openvino.CompiledModel, lm: LanguageModel, rows: int, capacity: int) -> None:
        import openvino

        super().__init__(lm, rows, capacity)
        self._tensor = openvino.Tensor
        self._blocks_per_row = -(-capacity // BLOCK_SIZE)
        self._request = compiled.create_infer_request()
        self._arrays: dict[str, np.ndarray] = {}
        """The memory of the request's inputs, which OpenVINO does not own."""
        self._caches: list[openvino.Tensor] = []
        for port in compiled.inputs:
            if "_cache." in port.get_any_name():
                shape = [
                    rows * self._blocks_per_row,
                    *(dim.get_length() for dim in list(port.get_partial_shape())[1:]),
                ]
                # Zeros from the operating system: a page takes memory only once it is written.
                zeros = np.zeros(int(np.prod(shape)) * port.get_element_type().size, dtype=np.uint8)
                self._arrays[port.get_any_name()] = zeros
                cache = openvino.Tensor(zeros, openvino.Shape(shape), port.get_element_type())
                self._request.set_tensor(port, cache)
                self._caches.append(cache)

    @property
    def bytes(self) -> int:
        """Size of the KV cache, that of cross-attention not included."""
        return sum(cache.byte_size for cache in self._caches)

    def _load_cross(self, cross: CrossKeyValues, cache_rows: list[int]) -> None:  # noqa: ARG002
        self._set_cross([cross])

    def _load_all_cross(self) -> None:
        if self._cross:
            self._set_cross(list(self._cross.values()))

    def _set_cross(self, conditions: list[CrossKeyValues]) -> None:
        """Concatenate the clips' conditions along the rows, padded to the longest."""
        rows, longest = sum(mask.shape[0] for _, mask in conditions), max(mask.shape[1] for _, mask in conditions)
        layers, _, _, heads, _, head_dim = conditions[0][0].shape
        keys = torch.zeros(layers, rows, heads, head_dim, longest)
        values = torch.zeros(layers, rows, heads, longest, head_dim)
        scores = torch.full((rows, 1, 1, longest), MASKED_SCORE)
        row = 0
        for projected, mask in conditions:
            end, length = row + mask.shape[0], mask.shape[1]
            keys[:, row:end, ..., :length] = projected[:, 0].transpose(-1, -2) * head_dim**-0.5
            values[:, row:end, :, :length] = projected[:, 1]
            scores[row:end, 0, 0, :length] = torch.where(mask, 0.0, MASKED_SCORE)
            row = end
        for layer in range(layers):
            self._set(f"cross_key.{layer}", keys[layer].numpy())
            self._set(f"cross_value.{layer}", values[layer].numpy())
        self._set("cross_mask", scores.numpy())

    def _forward(
        self, x: torch.Tensor, query_lengths: list[int], past_lengths: list[int], cache_rows: list[int]
    ) -> torch.Tensor:
        lengths = np.array(past_lengths, dtype=np.int32) + np.array(query_lengths, dtype=np.int32)
        block_counts = -(-lengths // BLOCK_SIZE)
        begins = np.concatenate([[0], np.cumsum(query_lengths)]).astype(np.int32)
        blocks = [
            cache_row * self._blocks_per_row + np.arange(count)
            for cache_row, count in zip(cache_rows, block_counts, strict=True)
        ]
        self._set("x", x.contiguous().numpy())
        self._set("past_lens", np.array(past_lengths, dtype=np.int32))
        self._set("subsequence_begins", begins)
        self._set("block_indices", np.concatenate(blocks).astype(np.int32))
        self._set("block_indices_begins", np.concatenate([[0], np.cumsum(block_counts)]).astype(np.int32))
        self._set("max_context_len", np.array(lengths.max(), dtype=np.int32))
        self._set("last_tokens", begins[1:] - 1)
        self._request.infer()
        config = self.lm.config
        logits = torch.from_numpy(self._request.get_output_tensor(0).data)
        return logits.view(-1, config.num_codebooks, config.codebook_size).clone()

    def _set(self, name: str, values: np.ndarray) -> None:
        self._arrays[name] = values  # the request reads it in place
        self._request.set_tensor(name, self._tensor(values, shared_memory=values.ndim > 0))
