"""Source separation: a recording without its drums and bass (paper section 2.3).

Low instruments dominate a chromagram; the melody is in Demucs' stems "vocals" and "other".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from musicgen.audio import Audio
from musicgen.content_cache import ContentCache
from musicgen.errors import CheckpointError

MODEL = "htdemucs"
REPOSITORY = "adefossez/HTDemucs"
"""Where the hub has it, in safetensors."""
SAMPLE_RATE = 44_100
"""Hz, of MODEL."""
KEPT = ("vocals", "other")
WITHOUT = {
    "python": " pass separate=False for a clean or hummed melody",
    "shell": " pass --no-separation for a clean or hummed melody",
    "page": " tick 'Already clean' for a hummed melody or one instrument",
}
"""How a melody does without the separation."""
KEPT_BYTES = 128 << 20
"""The size of the cache of separated recordings; one of ten minutes has 106 MB."""


class DemucsSeparator:
    """Hybrid Transformer Demucs (Rouard et al. 2023), loaded on first use.

    Args:
        device: Where it computes.
        without: What the user can do without it, in Python, in the shell and on the page.
    """

    def __init__(self, device: torch.device | str = "cpu", without: Mapping[str, str] = WITHOUT) -> None:
        self.device, self._without = torch.device(device), without
        self._model: Any = None
        # A recording is asked for again with another seed or description, and separating it takes longer than most clips.
        self._separated = ContentCache(KEPT_BYTES)

    def __call__(self, audio: Audio) -> Audio:
        """The sum of the kept stems, [1, samples] at Demucs' rate (44.1 kHz), kept for the same sound. Raises as `stems`."""
        return self._separated.get(audio, lambda: self._melody(audio))

    def _melody(self, audio: Audio) -> Audio:
        stems = self.stems(audio)
        kept = torch.stack([stems[name].wave for name in KEPT]).sum(dim=0)
        return Audio(kept.mean(dim=0, keepdim=True), stems[KEPT[0]].rate)

    def stems(self, audio: Audio) -> dict[str, Audio]:
        """What sounds together in a recording.

        Args:
            audio: float32 [C, T].

        Returns:
            "drums", "bass", "other", "vocals" -> its sound, float32 [2, samples] at Demucs' rate (44.1 kHz).

        Raises:
            CheckpointError: The model's weights are not on this machine and cannot be downloaded.
        """
        from demucs.apply import apply_model

        model = self._loaded()
        wave = audio.with_channels(model.audio_channels).resampled(model.samplerate).wave
        with torch.no_grad():
            # shifts=0: random shifts would make two runs differ.
            stems = apply_model(model, wave[None].to(self.device), shifts=0, split=True, device=self.device)[0]
        return {name: Audio(stem.cpu(), model.samplerate) for name, stem in zip(model.sources, stems, strict=True)}

    @staticmethod
    def is_downloaded() -> bool:
        """Whether the weights are on this machine."""
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(REPOSITORY, f"{MODEL}.yaml"), str)

    def _loaded(self) -> Any:
        if self._model is None:
            from demucs.pretrained import get_model
            from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

            try:
                # "hf://": not the older store, whose files are pickles.
                self._model = get_model(f"hf://{MODEL}")
            except (OSError, HTTPError) as error:
                raise CheckpointError(
                    f"the source separation model {MODEL} is not on this machine and the hub cannot be reached "
                    f"({type(error).__name__}): connect once, or",
                    **self._without,
                ) from error
            self._model.to(self.device).eval()
        return self._model
