"""Compare a tokeniser with Opus on the same clips: log-mel distance, chroma agreement, SI-SDR, bit rate.

    python -m musicgen.training.tokenizer.compare_with_opus MODEL AUDIO [--clips 16] [--seconds 10] [--output report.json]

MODEL is a folder that training exported, a hub name, or the folder of a MusicGen model, whose tokeniser is used; AUDIO a folder
or a manifest. Opus is libsndfile's at its lowest rate (6 kbit/s), which is three times the tokenisers' bit rate.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import soundfile
import torch
import torchaudio

from musicgen import audio, commandline
from musicgen.checkpoint.components import audio_tokenizer
from musicgen.folders import check_writable_file
from musicgen.tokenizers import Tokenizer, frame_rate
from musicgen.training.manifest import find
from musicgen.training.tokenizer.metrics import chroma_agreement, log_mel_distance, si_sdr

OPUS_RATE = 48_000
"""Hz: one of the few that Opus takes."""
OPUS_LOWEST = 1.0
"""libsndfile's compression level for 6 kbit/s."""

RoundTrip = Callable[[torch.Tensor], tuple[torch.Tensor, float]]
"""A wave [T] -> its reconstruction [T], and its size in kilobits."""


def through_tokenizer(tokenizer: Tokenizer) -> RoundTrip:
    """The bit rate is that of the codes: K log2 N bits a frame."""
    bits = tokenizer.num_codebooks * (tokenizer.codebook_size.bit_length() - 1)
    rate = float(frame_rate(tokenizer)) * bits / 1000

    def run(wave: torch.Tensor) -> tuple[torch.Tensor, float]:
        made = tokenizer.decode(tokenizer.encode(wave[None, None]))[0, 0, : len(wave)]
        return made, rate * len(wave) / tokenizer.sample_rate

    return run


def through_opus(rate: int) -> RoundTrip:
    """The bit rate is that of the file, headers included. rate: Hz of the waves."""

    def run(wave: torch.Tensor) -> tuple[torch.Tensor, float]:
        samples = torchaudio.functional.resample(wave, rate, OPUS_RATE).clamp(-1, 1).numpy()
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, OPUS_RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LOWEST)
        size = buffer.tell()
        buffer.seek(0)
        decoded, _ = soundfile.read(buffer, dtype="float32")
        made = torchaudio.functional.resample(torch.from_numpy(decoded), OPUS_RATE, rate)[: len(wave)]
        return torch.nn.functional.pad(made, (0, len(wave) - len(made))), size * 8 / 1000

    return run


@torch.no_grad()
def measure(run: RoundTrip, waves: Sequence[torch.Tensor], rate: int) -> dict[str, float]:
    """Means over waves [T] at `rate` Hz."""
    rows = []
    for wave in waves:
        made, kilobits = run(wave)
        rows.append(
            {
                "kbps": kilobits * rate / len(wave),
                "log_mel_db": log_mel_distance(wave, made, rate),
                "chroma_agreement": chroma_agreement(wave, made, rate),
                "si_sdr_db": si_sdr(wave, made),
            }
        )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def compare(model: str, source: Path, clips: int, seconds: float) -> dict[str, dict[str, float]]:
    """system -> its numbers, on the middle `seconds` of the first `clips` files of `source`, mixed down."""
    tokenizer = audio_tokenizer(model)
    rate = tokenizer.sample_rate
    waves = [
        _middle(audio.read(path, channels=1, rate=rate).wave[0], round(seconds * rate)) for path in find(source)[:clips]
    ]
    systems = {"tokenizer": through_tokenizer(tokenizer), "opus": through_opus(rate)}
    return {name: measure(run, waves, rate) for name, run in systems.items()}


def _middle(wave: torch.Tensor, length: int) -> torch.Tensor:
    start = max(0, (len(wave) - length) // 2)
    return wave[start : start + length]


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = commandline.Parser(prog="python -m musicgen.training.tokenizer.compare_with_opus", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("model")
    parser.add_argument("audio", type=Path)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    options = parser.parse_args(arguments)
    if options.output:
        check_writable_file(options.output)
    table = compare(options.model, options.audio, options.clips, options.seconds)
    for name, row in table.items():
        print(
            f"{name:<10} {row['kbps']:5.2f} kbit/s   log-mel distance {row['log_mel_db']:5.2f} dB   "
            f"chroma agreement {row['chroma_agreement']:.1%}   SI-SDR {row['si_sdr_db']:5.1f} dB"
        )
    if options.output:
        audio.write_bytes(options.output, (json.dumps(table, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
