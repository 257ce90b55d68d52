"""python tools/make_synth_references.py: the references of the `synth` suite, evaluation/suites/synth.

100 held-out compositions of 10 s (no training corpus uses their seeds), mixed down, as Ogg Vorbis, with the caption that
names genre, lead instrument, tempo and key; and their list, manifest.jsonl. Needs the soundfont of the composed corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from pathlib import Path

import soundfile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from musicgen import audio
from musicgen.training.corpus import SAMPLE_RATE, compose, render
from musicgen.training.quality import DURATION, HELD_OUT_SEED, full_caption

FOLDER = Path(__file__).parents[1] / "evaluation" / "suites" / "synth"
COUNT = 100
COMPRESSION = 0.8
"""libsndfile's scale, 0 best to 1 smallest."""


def encoded(seed: int) -> tuple[bytes, str]:
    """(an Ogg file, the caption) of one composition."""
    composition = compose(seed, duration=DURATION)
    mono = render(composition).mean(axis=0)[: int(DURATION * SAMPLE_RATE)]
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS", compression_level=COMPRESSION
    ) as file:
        for start in range(0, len(mono), SAMPLE_RATE):  # libsndfile's encoder keeps its whole input on the stack
            file.write(mono[start : start + SAMPLE_RATE])
    return buffer.getvalue(), full_caption(composition)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    lines = []
    for number in tqdm(range(options.count)):
        seed = HELD_OUT_SEED + number
        data, caption = encoded(seed)
        name = f"{number:03d}.ogg"
        audio.write_bytes(options.out / name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        lines.append({"id": f"{number:03d}", "caption": caption, "audio": name, "sha256": sha256, "seed": seed})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    audio.write_bytes(options.out / "manifest.jsonl", text.encode())
    size = sum(file.stat().st_size for file in options.out.iterdir())
    print(f"{options.out}: {options.count} compositions, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
