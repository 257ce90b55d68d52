"""What only a model can tell, not its clips: perplexity of held-out audio, and how much of an example it knows by heart.

The one file beside `systems.py` that runs a model of this project; its numbers go to `evaluation.metrics.perplexity` and
`evaluation.metrics.memorisation`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from musicgen import audio
from musicgen.errors import InputError

from .data import Item
from .metrics import memorisation, perplexity
from .suites import Suite

PROMPT_SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0)
"""Lengths of the prompts of the memorisation experiment."""
CONTINUATION_SECONDS = 5.0


def measure(
    name: str, suite: Suite, items: Sequence[Item], device: str = "auto", batch: int = 4, melody: bool = False
) -> dict[str, Any]:
    """Perplexity of the references, given their captions, and shares of exact and partial continuations by prompt
    length. For memorisation in the paper's sense, the references must be the model's training examples."""
    model = importlib.import_module("musicgen").load(name, device, "float32")
    if melody and model.melody is None:
        raise InputError(f"{name} takes no melody")
    if not items:
        raise InputError("no reference to measure on")
    entropies = []
    matches = {seconds: memorisation.merge([]) for seconds in PROMPT_SECONDS}
    for start in tqdm(range(0, len(items), batch), desc=name):
        part = items[start : start + batch]
        codes = codes_of(model, part, suite.duration)
        given = [item.file for item in part] if melody else None
        entropies.append(cross_entropy(model, codes, [item.caption for item in part], given))
        for seconds in PROMPT_SECONDS:
            truth, continued = continuation(model, codes, [item.caption for item in part], seconds, given)
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
    model: Any, codes: torch.Tensor, captions: Sequence[str], melodies: Sequence[Any] | None = None
) -> perplexity.CrossEntropy:
    """Of codes [B, K, T] under teacher forcing, without guidance and without dropout."""
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes.to(model.device), model.lm.config.special_token)
    conditions = _guided(model, captions, melodies).conditions
    logits, mask = layout.revert_logits(model.lm(sequence[:, :, :-1], conditions), fill=0.0)
    return perplexity.cross_entropy(logits.float().cpu().numpy(), codes.numpy(), mask.cpu().expand(codes.shape).numpy())


@torch.inference_mode()
def continuation(
    model: Any, codes: torch.Tensor, captions: Sequence[str], seconds: float, melodies: Sequence[Any] | None = None
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """(the first codebook's codes behind a prompt of `seconds`, the model's greedy ones), each [B, n]; None where the
    example is too short for prompt and continuation."""
    known, length = round(seconds * model.frame_rate), round(CONTINUATION_SECONDS * model.frame_rate)
    if codes.shape[2] < known + length:
        return None, codes[:, 0, :0]
    generate, sampling = importlib.import_module("musicgen.generate"), importlib.import_module("musicgen.sampling")
    options = importlib.import_module("musicgen").GenerationOptions(do_sample=False, guidance_scale=1.0)
    streams = [sampling.ClipStream(seed) for seed in range(len(codes))]
    prompt = codes[:, :, :known].to(model.device)
    steps = generate.generate_codes(
        model.lm, model.pattern, _guided(model, captions, melodies), known + length, options, streams, prompt
    )
    made = torch.cat([step.codes for step in steps], dim=2)[:, 0].cpu()
    return codes[:, 0, known : known + length], made[:, -length:]


def _guided(model: Any, captions: Sequence[str], melodies: Sequence[Any] | None) -> Any:
    request = importlib.import_module("musicgen.request").GenerationRequest
    given = None if melodies is None else list(melodies)
    return model.guided(request.of(captions, melody=given, separate=False, options={"guidance_scale": 1.0}))


def codes_of(model: Any, items: Sequence[Item], duration: float) -> torch.Tensor:
    """[B, K, T] of the references' first `duration` seconds; what is shorter is refused."""
    samples = round(duration * model.sample_rate)
    waves = []
    for item in items:
        decoded = audio.read(item.file, channels=model.channels, rate=model.sample_rate)
        if decoded.wave.shape[1] < samples:
            raise InputError(f"{item.file}: {decoded.duration:.2f} s: shorter than the suite's {duration:g} s")
        waves.append(decoded.wave[:, :samples])
    with torch.inference_mode():
        return model.tokenizer.encode(torch.stack(waves).to(model.device)).cpu()
