"""python -m benchmarks.evaluation: four systems scored by FAD, KL and CLAP, by this package and by its peers.

The peers are frechet-audio-distance, hear21passt and laion-clap, used as their own READMEs do: a system at a time, each
with the reference set. All networks have the published shapes and the same random weights; nothing is downloaded. Clips
are noise and decaying tones of 10 s at 32 kHz, already as loud as the protocol makes them. Ours starts with an empty
cache in every round; ours
and theirs take turns. Loading the networks is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="musicgen-benchmark-")

import numpy as np
import soundfile
import torch

from benchmarks import machine
from evaluation import run, samples, scorers, suites
from evaluation.clips import as_loud_as_the_paper
from evaluation.data import Item
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Registry
from evaluation.embedders.vggish import VGGish
from evaluation.embedders.weights import Weights
from evaluation.metrics import clap, kl
from musicgen import audio

RATE = 32_000
METRICS = ("fad_vggish_torch", "kl", "clap")
VOCABULARY = 50_265


def write_clips(folder: Path, systems: int, clips: int, seconds: float) -> list[Item]:
    """Samples folders `system0` …, and the items of the reference folder."""
    items = []
    for system in range(-1, systems):
        name = "references" if system < 0 else f"system{system}"
        writer = samples.Writer(folder / name, name)
        for number in range(clips):
            rng = np.random.default_rng([system + 1, number])
            time_axis = np.arange(int(seconds * RATE)) / RATE
            wave = 0.02 * rng.normal(size=len(time_axis))
            for start in np.arange(0, seconds, 0.4):
                after = np.clip(time_axis - start, 0, None)
                wave += (
                    (after > 0) * np.exp(-4 * after) * np.sin(2 * np.pi * 110 * 2 ** (rng.integers(36) / 12) * after)
                )
            loud = as_loud_as_the_paper(torch.from_numpy(wave).float())
            sample = writer.add(f"{number:03d}", audio.Audio(loud[None], RATE), prompt="", extension=".wav")
            if system < 0:
                caption = f"a tune number {number} of plucked strings"
                items.append(Item(sample.id, caption, folder / name / sample.audio, sample.sha256))
    return items


def stand_ins(folder: Path) -> dict[str, Path]:
    """Random weights of the published shapes, in the published form; RoBERTa has one layer."""
    from hear21passt.models import passt
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    vggish = VGGish()
    torch.save(vggish.state_dict(), folder / "vggish.pth")
    torch.save(passt.get_model(arch="passt_20sec", pretrained=False, input_tdim=2000).state_dict(), folder / "passt.pt")
    roberta = Path(os.environ["HF_HOME"]) / "hub" / "models--roberta-base"
    snapshot = roberta / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (roberta / "refs").mkdir()
    (roberta / "refs" / "main").write_text("0")
    config = RobertaConfig(
        vocab_size=VOCABULARY, num_hidden_layers=1, intermediate_size=64, max_position_embeddings=514, type_vocab_size=1
    )
    RobertaModel(config).save_pretrained(snapshot)
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *(chr(code) for code in range(33, 127))]
    letters += [f"unused{number}" for number in range(VOCABULARY - len(letters))]
    (snapshot / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    (snapshot / "merges.txt").write_text("#version: 0.2\n")
    import laion_clap

    module = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu")
    torch.save({"state_dict": module.model.state_dict()}, folder / "clap.pt")
    return {"vggish": folder / "vggish.pth", "passt": folder / "passt.pt", "clap": folder / "clap.pt"}


def ours(folder: Path, items: Sequence[Item], systems: int, registry: Registry, cache: Path) -> dict[str, Any]:
    """{system: {metric: value}}."""
    suite = suites.load("folder")
    folders = [folder / f"system{number}" for number in range(systems)]
    options = run.Options(progress=False)
    results = run.score(suite, items, folders, registry, Cache(cache), options, METRICS)
    return {system.name: {score.metric: score.value for score in system.scores} for system in results.systems}


def warm(registry: Registry) -> None:
    """Load every network: no clock counts that, here or for the peers."""
    for name in scorers.embedders_of(METRICS):
        embedder = registry[name]
        embedder.embed(embedder.prepare(torch.zeros(2 * embedder.rate), "warm")[0][None])


class Peers:
    """The three packages."""

    def __init__(self, files: dict[str, Path]) -> None:
        import laion_clap
        from frechet_audio_distance import FrechetAudioDistance
        from hear21passt.base20sec import get_basic_model
        from hear21passt.models import passt
        from torchvggish import torchvggish, vggish_input

        class Published(torchvggish.VGG):
            """torch.hub's entry: waveform in, embedding out."""

            def forward(self, wave: np.ndarray, rate: int) -> torch.Tensor:
                return super().forward(vggish_input.waveform_to_examples(wave, rate))

        network = Published(torchvggish.make_layers(), False)
        network.load_state_dict(torch.load(files["vggish"]))
        hub, torch.hub.load = torch.hub.load, lambda **_: network
        self.fad = FrechetAudioDistance(model_name="vggish", sample_rate=16_000)
        torch.hub.load = hub
        untrained = passt.get_model

        def without_download(arch: str, input_tdim: int) -> torch.nn.Module:
            return untrained(arch=arch, pretrained=False, input_tdim=input_tdim)

        import hear21passt.base20sec as base

        base.get_model_passt = without_download
        self.passt = get_basic_model(mode="logits").eval()
        self.passt.net.load_state_dict(torch.load(files["passt"]))
        self.clap = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu")
        self.clap.model.load_state_dict(torch.load(files["clap"])["state_dict"])
        self.clap.eval()

    def score(self, folder: Path, items: Sequence[Item], systems: int) -> dict[str, Any]:
        """{system: {metric: value}}."""
        found = {}
        for number in range(systems):
            generated = samples.read(folder / f"system{number}", verify=False)
            files = {sample.id: generated.file(sample) for sample in generated.samples}
            divergences, texts, sounds = [], [], []
            for item in items:
                logits = [self._logits(file) for file in (item.file, files[item.id])]
                divergences.append(kl.divergence(*logits))
                with torch.no_grad():
                    sounds.append(self.clap.get_audio_embedding_from_filelist([str(files[item.id])])[0])
                    texts.append(self.clap.get_text_embedding([item.caption, ""])[0])
            found[f"system{number}"] = {
                "fad_vggish_torch": float(self._distance(folder / "references", folder / f"system{number}")),
                "kl": kl.merge(divergences).means[0],
                "clap": clap.score(texts, sounds),
            }
        return found

    def _logits(self, file: Path) -> np.ndarray:
        wave, _ = soundfile.read(file, dtype="float32")
        with torch.no_grad():
            return self.passt(torch.from_numpy(wave)[None]).numpy()

    def _distance(self, reference: Path, generated: Path) -> float:
        # The package reads every file of a folder: the manifest would be one of them.
        with tempfile.TemporaryDirectory() as place:
            for name, source in (("r", reference), ("g", generated)):
                (Path(place) / name).mkdir()
                for file in source.glob("*.wav"):
                    (Path(place) / name / file.name).symlink_to(file)
            return self.fad.score(f"{place}/r", f"{place}/g", dtype="float32")


def timed(work: Callable[[], dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """(seconds, result), with what libraries print swallowed."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        result = work()
    return time.perf_counter() - start, result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--clips", type=int, default=60, help="a system (default 60)")
    parser.add_argument("--systems", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows: dict[str, list[float]] = {"ours": [], "peers": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        items = write_clips(folder, options.systems, options.clips, options.seconds)
        with contextlib.redirect_stdout(io.StringIO()):
            files = stand_ins(folder)
            peers, registry = Peers(files), Registry(Weights(files))
            warm(registry)
        values: dict[str, Any] = {}
        for number in range(options.rounds):
            cache = folder / f"cache{number}"
            seconds, values["ours"] = timed(lambda: ours(folder, items, options.systems, registry, cache))  # noqa: B023
            rows["ours"].append(seconds)
            again, _ = timed(lambda: ours(folder, items, options.systems, registry, cache))  # noqa: B023
            seconds, values["peers"] = timed(lambda: peers.score(folder, items, options.systems))
            rows["peers"].append(seconds)
    gaps = {
        metric: max(
            abs(values["ours"][system][metric] - values["peers"][system][metric])
            / max(1e-9, abs(values["peers"][system][metric]))
            for system in values["ours"]
        )
        for metric in METRICS
    }
    report = {
        "machine": machine.describe("cpu", options.threads),
        "clips": options.clips,
        "systems": options.systems,
        "seconds_of_a_clip": options.seconds,
        "wall_s": rows,
        "rescore_from_cache_s": again,
        "ratio": float(np.median(rows["peers"]) / np.median(rows["ours"])),
        "largest_relative_gap": gaps,
        "values": values,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    text = json.dumps(report, indent=1) + "\n"
    if options.json:
        audio.write_bytes(options.json, text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
