"""python -m benchmarks.evaluation: systems scored by FAD, KL and CLAP, by this package and by its peers.

The peers are frechet-audio-distance, hear21passt and laion-clap, used as in their READMEs: one system at a time, each with the
reference set. All networks have the published shapes and the same random weights; nothing is downloaded. Clips are noise and
decaying tones of 10 s at 32 kHz, already normalised in loudness; systems differ in noise, tempo and pitch. This project starts
with an empty cache, in which later systems find the references' embeddings.

The runs of this project and of the peers are interleaved, one system at a time, each in a separate process; loading the
networks is not counted. CPU time of all threads is compared, so that other programs have no influence; with --device cuda,
wall-clock time. With --folder, intermediate results are stored there, and an interrupted benchmark is continued by the same
command.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import soundfile
import torch

from benchmarks import machine, store
from evaluation.clips.clip import normalise_loudness
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.embedders.vggish import VGGish
from evaluation.embedders.weights import Weights
from evaluation.metrics import clap, kl
from evaluation.metrics.registry import embedders_of
from evaluation.pipeline import scoring
from evaluation.suites.items import Item
from evaluation.suites.suite import load_suite
from musicgen import audio, samples

RATE = 32_000
METRICS = ("fad_vggish_torch", "kl", "clap")
NETWORKS = ("vggish", "passt", "clap")
SIDES = ("ours", "peers")
VOCABULARY = 50_265


def write_clips(folder: Path, systems: int, clips: int, seconds: float) -> list[Item]:
    """Samples folders `system0` …, and the items of the reference folder; what is there already stays."""
    items = []
    for system in range(-1, systems):
        name = "references" if system < 0 else f"system{system}"
        writer = samples.Writer(folder / name, name)
        for number in range(clips):
            if f"{number:03d}" not in writer:
                loud = normalise_loudness(tune(system + 1, number, seconds))
                writer.add(f"{number:03d}", audio.Audio(loud[None], RATE), prompt="", extension=".wav")
    for sample in samples.read(folder / "references").samples[:clips]:
        caption = f"a tune number {sample.id} of plucked strings"
        items.append(Item(sample.id, caption, folder / "references" / sample.audio, sample.sha256))
    return items


def tune(kind: int, number: int, seconds: float) -> torch.Tensor:
    """[samples]."""
    rng = np.random.default_rng([kind, number])
    time_axis = np.arange(int(seconds * RATE)) / RATE
    wave = 0.02 * (1 + kind) * rng.normal(size=len(time_axis))
    for start in np.arange(0, seconds, 0.4 - 0.05 * kind):
        after = np.clip(time_axis - start, 0, None)
        pitch = 110 * 2 ** ((rng.integers(36) + 3 * kind) / 12)
        wave += (after > 0) * np.exp(-4 * after) * np.sin(2 * np.pi * pitch * after)
    return torch.from_numpy(wave).float()


def stand_ins(folder: Path) -> None:
    """Random weights of the published shapes, in the published form; RoBERTa has one layer."""
    from hear21passt.models import passt
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    vggish = VGGish()
    for name, parameter in vggish.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)  # PyTorch's own start lets all clips look alike
    torch.save(vggish.state_dict(), folder / "vggish.pt")
    torch.save(passt.get_model(arch="passt_20sec", pretrained=False, input_tdim=2000).state_dict(), folder / "passt.pt")
    roberta = folder / "hub-cache" / "hub" / "models--roberta-base"
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


def ours(folder: Path, items: Sequence[Item], system: int, embedders: Embedders) -> dict[str, float]:
    """{metric: value}."""
    options = scoring.ScoringOptions(progress=False)
    cache = Cache(folder / "cache")
    results = scoring.score(
        load_suite("folder"), items, [folder / f"system{system}"], embedders, cache, options, METRICS
    )
    return {score.metric: score.value for score in results.systems[0].scores}


def warm(embedders: Embedders) -> None:
    """Load every network: no clock counts that, here or for the peers."""
    for name in embedders_of(METRICS):
        embedder = embedders[name]
        embedder.embed(embedder.prepare(torch.zeros(2 * embedder.rate), "warm")[0][None])


class Peers:
    """The three packages. frechet-audio-distance takes a GPU by itself where there is one."""

    def __init__(self, files: dict[str, Path], device: str) -> None:
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
        self.device = device
        self.passt = get_basic_model(mode="logits").eval()
        self.passt.net.load_state_dict(torch.load(files["passt"]))
        self.passt.to(device)
        self.clap = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device=device)
        self.clap.model.load_state_dict(torch.load(files["clap"], map_location=device)["state_dict"])
        self.clap.eval()

    def score(self, folder: Path, items: Sequence[Item], system: int) -> dict[str, float]:
        """{metric: value}."""
        generated = samples.read(folder / f"system{system}", verify=False)
        files = {sample.id: generated.file(sample) for sample in generated.samples}
        divergences, texts, sounds = [], [], []
        for item in items:
            logits = [self._logits(file) for file in (item.file, files[item.id])]
            divergences.append(kl.divergence(*logits))
            with torch.no_grad():
                sounds.append(self.clap.get_audio_embedding_from_filelist([str(files[item.id])])[0])
                texts.append(self.clap.get_text_embedding([item.caption, ""])[0])
        return {
            "fad_vggish_torch": float(self._distance(folder / "references", folder / f"system{system}")),
            "kl": kl.merge(divergences).means[0],
            "clap": clap.score(texts, sounds),
        }

    def _logits(self, file: Path) -> np.ndarray:
        wave, _ = soundfile.read(file, dtype="float32")
        with torch.no_grad():
            return self.passt(torch.from_numpy(wave)[None].to(self.device)).cpu().numpy()

    def _distance(self, reference: Path, generated: Path) -> float:
        # The package reads every file of a folder: the manifest would be one of them.
        with tempfile.TemporaryDirectory() as place:
            for name, source in (("r", reference), ("g", generated)):
                (Path(place) / name).mkdir()
                for file in source.glob("*.wav"):
                    (Path(place) / name / file.name).symlink_to(file)
            return self.fad.score(f"{place}/r", f"{place}/g", dtype="float32")


def step(options: argparse.Namespace) -> int:
    """In a process of its own: `prepare`, or one side's scores of one system, as a line of JSON."""
    side, folder = options.step[0], options.folder
    torch.set_num_threads(options.threads)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        items = write_clips(folder, options.systems, options.clips, options.seconds)
        if side == "prepare":
            stand_ins(folder)
            return 0
        system, files = int(options.step[1]), {name: folder / f"{name}.pt" for name in NETWORKS}
        if side == "ours":
            embedders = Embedders(Weights(files), options.device)
            warm(embedders)
            start, begun = time.perf_counter(), time.process_time()
            values = ours(folder, items, system, embedders)
        else:
            peers = Peers(files, options.device)
            start, begun = time.perf_counter(), time.process_time()
            values = peers.score(folder, items, system)
        spent, processor = time.perf_counter() - start, time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall_s": spent, "processor_s": processor, "values": values, "peak_memory_mb": peak}))
    return 0


def child(folder: Path, options: argparse.Namespace, *step: str) -> str:
    """The output of a separate process, whose hub cache contains the stand-in weights."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--folder", str(folder), "--step", *step]
    for name in ("clips", "systems", "seconds", "threads", "device"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "HF_HOME": str(folder / "hub-cache")}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def measured(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """{`ours 0`: …}: from the folder where it is there, else from a new process."""
    if not (folder / "clap.pt").is_file():
        child(folder, options, "prepare")
    found = {}
    for system in range(options.systems):
        for side in SIDES:
            file = folder / f"{side}{system}.json"
            if not file.is_file():
                audio.write_bytes(file, child(folder, options, side, str(system)).encode())
            found[f"{side} {system}"] = json.loads(file.read_text())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--clips", type=int, default=60, help="a system (default 60)")
    parser.add_argument("--systems", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of the networks (default cpu)")
    parser.add_argument(
        "--folder", type=Path, help="keep clips, weights and what was measured here, and go on from there"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        return step(options)
    with contextlib.ExitStack() as stack:
        found = measured(options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())), options)
    wall, processor = (
        {side: [found[f"{side} {system}"][clock] for system in range(options.systems)] for side in SIDES}
        for clock in ("wall_s", "processor_s")
    )
    compared = processor if options.device == "cpu" else wall
    values = {name: entry["values"] for name, entry in found.items()}
    gaps = {
        metric: max(
            abs(values[f"ours {system}"][metric] / values[f"peers {system}"][metric] - 1)
            for system in range(options.systems)
        )
        for metric in METRICS
    }
    report = {
        "command": store.command("evaluation"),
        "machine": machine.describe(options.device, options.threads),
        "clips": options.clips,
        "systems": options.systems,
        "seconds_of_a_clip": options.seconds,
        "wall_s": wall,
        "processor_s": processor,
        "ratio": sum(compared["peers"]) / sum(compared["ours"]),
        "largest_relative_gap": gaps,
        "values": values,
        "peak_memory_mb": {
            side: max(found[f"{side} {n}"]["peak_memory_mb"] for n in range(options.systems)) for side in SIDES
        },
    }
    store.publish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
