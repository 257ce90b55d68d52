"""Error analysis of an embedded model: clips that differ from the suite's references in one stage of the model each.

    sequenced                     the same compositions, rendered like the training music
    through the tokeniser         the references' codes, decoded
    sequenced, tokenised          both
    level k resampled             the references' codes, with one codebook sampled by the language model (teacher forcing)
    all levels resampled          every code sampled by the language model, given the reference's codes before it
    generated                     at several temperatures and guidance scales

The result is a result file of the evaluation (`evaluation/reports/results.py`), which docs/experiments.md shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from evaluation.clips.window import Window
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights
from evaluation.pipeline import generation, scoring
from evaluation.reports.results import Results
from evaluation.suites.items import Item, load_items
from evaluation.suites.suite import Suite, load_suite
from evaluation.systems.base import SystemOptions
from evaluation.systems.language_model import encode_references
from evaluation.systems.musicgen_model import MusicGenSystem
from experiments.evaluate import SUITE
from musicgen import samples
from musicgen.audio import Audio
from musicgen.model import MusicGen
from musicgen.options import PAPER_GUIDANCE, GenerationOptions
from musicgen.request import GenerationRequest
from musicgen.sampling import ClipStream, sample
from musicgen.training.corpus import SAMPLE_RATE, compose, render
from musicgen.training.quality import DURATION, HELD_OUT_SEED

FOLDER = "diagnosis"
"""Of clips and results."""
METRICS = ("fad_mini", "kl_mini", "clap_mini")
TEMPERATURES = (0.6, 0.8, 1.0, 1.2)
"""At the paper's guidance scale."""
GUIDANCE_SCALES = (1.0, 2.0, 4.0, 6.0)
"""At the default temperature."""
BATCH = 20

Make = Callable[[Sequence[Item]], list[Audio]]
"""The clips of some items, in order."""


def diagnose(name: str, output: Path, limit: int | None = None) -> Results:
    """Make the clips of all steps and score them against the suite's references.

    Args:
        name: of a text model: embedded, of the hub, or a folder.
        output: folder of the samples folders, one a step; what is there is not made again.
        limit: items of the suite, None for all.

    Returns:
        The scores, those of the references first.
    """
    suite = load_suite(SUITE)
    items = load_items(suite, limit=limit)
    folders = [*_references(suite, items, name, output), *_generated(suite, items, name, output)]
    options = scoring.ScoringOptions(bounds=True)
    embedders = Embedders(Weights({}, download=False), "cpu")
    results = scoring.score(suite, items, folders, embedders, Cache(output / "cache"), options, METRICS)
    return dataclasses.replace(results, comparisons=())  # of every two rows: nobody reads them


def _references(suite: Suite, items: Sequence[Item], name: str, output: Path) -> list[Path]:
    """The samples folders that begin with the references."""
    from musicgen.checkpoint import load

    model = load(name, "cpu", "float32")

    def codes_of(part: Sequence[Item]) -> torch.Tensor:
        return encode_references(model, part, Window("start", suite.duration))

    def decoded(codes: torch.Tensor) -> list[Audio]:
        with torch.inference_mode():
            return [Audio(wave, model.sample_rate) for wave in model.tokenizer.decode(codes)]

    def tokenised_sequences(part: Sequence[Item]) -> list[Audio]:
        with torch.inference_mode():
            waves = torch.stack(
                [clip.with_channels(model.channels).resampled(model.sample_rate).wave for clip in _sequenced(part)]
            )
            return decoded(model.tokenizer.encode(waves))

    steps: dict[str, Make] = {
        "sequenced": _sequenced,
        "through the tokeniser": lambda part: decoded(codes_of(part)),
        "sequenced, tokenised": tokenised_sequences,
    }
    levels = {f"level {level + 1} resampled": [level] for level in range(model.pattern.num_codebooks)}
    levels["all levels resampled"] = list(range(model.pattern.num_codebooks))
    for step, chosen in levels.items():
        steps[step] = lambda part, chosen=chosen: decoded(resampled(model, codes_of(part), part, chosen))  # type: ignore[misc]
    return [_written(output, step, items, make) for step, make in steps.items()]


def _sequenced(items: Sequence[Item]) -> list[Audio]:
    pieces = [compose(HELD_OUT_SEED + int(item.id), duration=DURATION, sequenced=True) for item in items]
    return [Audio(torch.from_numpy(render(piece)), SAMPLE_RATE).mono() for piece in pieces]


@torch.inference_mode()
def resampled(model: MusicGen, codes: torch.Tensor, items: Sequence[Item], levels: Sequence[int]) -> torch.Tensor:
    """Codes with some codebooks drawn by the language model, each code from the true codes before it in the pattern.

    Args:
        model: the model.
        codes: [B, K, T].
        items: B; gives the captions, and by the id the seed of the draws.
        levels: indices of the codebooks that are drawn, 0 for the coarsest.

    Returns:
        [B, K, T].
    """
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes.to(model.device), model.lm.config.special_token)
    request = GenerationRequest.of([item.caption for item in items], options={"guidance_scale": 1.0})
    logits, mask = layout.revert_logits(model.lm(sequence[:, :, :-1], model.guided(request).conditions), fill=0.0)
    uniforms = torch.stack(
        [ClipStream(HELD_OUT_SEED + int(item.id)).uniforms(codes.shape[2], codes.shape[1]).T for item in items]
    )
    drawn = sample(logits.float(), GenerationOptions(guidance_scale=1.0, top_k=0), uniforms).cpu()
    changed = torch.zeros(codes.shape, dtype=torch.bool)
    changed[:, list(levels)] = True
    return torch.where(changed & mask.cpu(), drawn, codes)


def _generated(suite: Suite, items: Sequence[Item], name: str, output: Path) -> list[Path]:
    """The samples folders of clips that the model generates."""
    settings = [(value, PAPER_GUIDANCE) for value in TEMPERATURES] + [(1.0, value) for value in GUIDANCE_SCALES]
    folders = []
    requests = generation.make_requests(suite, items)
    for temperature, guidance in settings:
        label = f"generated, temperature {temperature:g}, guidance {guidance:g}"
        options = SystemOptions("cpu", BATCH, {"temperature": temperature, "guidance_scale": guidance})
        folder = output / label.replace(",", "").replace(" ", "-")
        generation.generate(folder, requests, lambda options=options: MusicGenSystem(None, name, options), label)  # type: ignore[misc]
        folders.append(folder)
    return folders


def _written(output: Path, label: str, items: Sequence[Item], make: Make) -> Path:
    """The samples folder of a step; only clips that are missing are made."""
    folder = output / label.replace(",", "").replace(" ", "-")
    writer = samples.Writer(folder, label)
    missing = [item for item in items if item.id not in writer]
    for start in tqdm(range(0, len(missing), BATCH), desc=label):
        part = missing[start : start + BATCH]
        for item, clip in zip(part, make(part), strict=True):
            writer.add(item.id, Audio(clip.wave.cpu(), clip.rate), prompt=item.caption)
    return folder
