"""Metrics of a language model of this project instead of its clips: perplexity of held-out audio, and memorisation.

The formulas are in `metrics/perplexity.py` and `metrics/memorisation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from ..clips.window import Window
from ..metrics import memorisation, perplexity
from ..suites.items import Item
from ..suites.suite import Suite

if TYPE_CHECKING:
    from musicgen.guidance import Guided
    from musicgen.model import MusicGen

PROMPT_SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0)
"""Lengths of the prompts in the memorisation experiment."""
CONTINUATION_SECONDS = 5.0


def measure(
    name: str, suite: Suite, items: Sequence[Item], device: str = "auto", batch: int = 4, melody: bool = False
) -> dict[str, Any]:
    """Perplexity of the references given their captions, and shares of exact and partial continuations by prompt length. For
    memorisation in the paper's sense, the references must be training examples of the model.

    Args:
        name: of the model, whatever `musicgen.load` takes.
        suite: the suite.
        items: its items.
        device: PyTorch's name of it.
        batch: clips of one call; perplexity as audiocraft computes it depends on it.
        melody: condition on the reference's melody, too.

    Returns:
        Numbers by name, as the command `language-model` prints them.

    Raises:
        InputError: there are no items, a reference is shorter than the suite's duration, or the model takes no melody.
    """
    from musicgen.checkpoint import load

    model = load(name, device, "float32")
    if not model.generator.autoregressive:
        raise InputError(f"{name} does not generate step by step: it has no perplexity of the next code")
    if melody and model.melody is None:
        raise InputError(f"{name} takes no melody")
    if not items:
        raise InputError("there is no reference")
    entropies = []
    matches = {seconds: memorisation.merge([]) for seconds in PROMPT_SECONDS}
    for start in tqdm(range(0, len(items), batch), desc=name):
        part = items[start : start + batch]
        codes = encode_references(model, part, suite.window)
        melodies = [suite.window.read(item.file) for item in part] if melody else None
        entropies.append(cross_entropy(model, codes, [item.caption for item in part], melodies))
        for seconds in PROMPT_SECONDS:
            truth, continued = continuation(model, codes, [item.caption for item in part], seconds, melodies)
            if truth is not None:
                matches[seconds] += memorisation.matches(truth.numpy(), continued.numpy())
    figures = perplexity.perplexity(entropies)
    return {
        "model": name,
        "suite": suite.label,
        "n": len(items),
        "batch": batch,
        "perplexity": {
            "audiocraft": figures.audiocraft,
            "pooled": figures.pooled,
            "codebooks": list(figures.codebooks),
            "version": perplexity.VERSION,
        },
        "memorisation": {
            f"{seconds:g} s": {"examples": each.examples, "exact": each.shares[0], "partial": each.shares[1]}
            for seconds, each in matches.items()
            if each.examples
        },
        "memorisation_version": memorisation.VERSION,
        "melody": melody,
    }


@torch.inference_mode()
def cross_entropy(
    model: MusicGen, codes: torch.Tensor, captions: Sequence[str], melodies: Sequence[Audio] | None = None
) -> perplexity.CrossEntropy:
    """The cross-entropy of a batch under teacher forcing, without guidance and without dropout.

    Args:
        model: the model.
        codes: [B, K, T].
        captions: B.
        melodies: B recordings, None for none.
    """
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes.to(model.device), model.lm.config.special_token)
    conditions = _guided(model, captions, melodies).conditions
    logits, mask = layout.revert_logits(model.lm(sequence[:, :, :-1], conditions), fill=0.0)
    return perplexity.cross_entropy(logits.float().cpu().numpy(), codes.numpy(), mask.cpu().expand(codes.shape).numpy())


@torch.inference_mode()
def continuation(
    model: MusicGen,
    codes: torch.Tensor,
    captions: Sequence[str],
    seconds: float,
    melodies: Sequence[Audio] | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Continue examples greedily.

    Args:
        model: the model.
        codes: of the examples [B, K, T].
        captions: B.
        seconds: length of the prompt.
        melodies: B recordings, None for none.

    Returns:
        (codes of the first codebook after the prompt, those that the model generates), each [B, n]; (None, an empty tensor) if
        the examples are too short for prompt and continuation.
    """
    from musicgen.generate import generate_codes
    from musicgen.sampling import ClipStream

    prompt_length, length = round(seconds * model.frame_rate), round(CONTINUATION_SECONDS * model.frame_rate)
    if codes.shape[2] < prompt_length + length:
        return None, codes[:, 0, :0]
    options = GenerationOptions(do_sample=False, guidance_scale=1.0)
    streams = [ClipStream(seed) for seed in range(len(codes))]
    prompt = codes[:, :, :prompt_length].to(model.device)
    steps = generate_codes(
        model.lm, model.pattern, _guided(model, captions, melodies), prompt_length + length, options, streams, prompt
    )
    generated = torch.cat([step.codes for step in steps], dim=2)[:, 0].cpu()
    return codes[:, 0, prompt_length : prompt_length + length], generated[:, -length:]


def _guided(model: MusicGen, captions: Sequence[str], melodies: Sequence[Audio] | None) -> Guided:
    from musicgen.request import GenerationRequest

    melody = None if melodies is None else list(melodies)
    return model.guided(GenerationRequest.of(captions, melody=melody, separate=False, options={"guidance_scale": 1.0}))


def encode_references(model: MusicGen, items: Sequence[Item], window: Window) -> torch.Tensor:
    """Codes [B, K, T] of a part of each reference. Raises InputError for references that are shorter than it."""
    samples = round(window.seconds * model.sample_rate)
    waves = []
    for item in items:
        decoded = window.cut(audio.read(item.file, channels=model.channels, rate=model.sample_rate))
        if decoded.wave.shape[1] < samples:
            raise InputError(
                f"{item.file}: {decoded.duration:.2f} s long, shorter than the suite's {window.seconds:g} s"
            )
        waves.append(decoded.wave)
    with torch.inference_mode():
        return model.tokenizer.encode(torch.stack(waves).to(model.device)).cpu()
