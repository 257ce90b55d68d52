"""Audio analysis of the corpus: tempo, key and classifier features, and how well they agree with the ground truth.

    python -m musicgen.training.corpus.analysis --count 300

prints the rendering speed of a core, how often the strongest pitch class of the mix is the melody's, how often simple
estimators find the tempo and the key, and the cross-validated accuracy of linear classifiers of genre and lead instrument.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import librosa
import numpy as np
import torch
from librosa.decompose import hpss
from librosa.onset import onset_strength

from musicgen import commandline, tonality
from musicgen.audio import Audio
from musicgen.chroma import HOP, chroma
from musicgen.training.corpus.composer import compose
from musicgen.training.corpus.composition import Composition
from musicgen.training.corpus.renderer import SAMPLE_RATE, render

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TEMPO_TOLERANCE = 0.08
FOLDS = 5


@dataclass(frozen=True)
class Analysis:
    """One composition. speed: seconds rendered in one second; melody: share of frames; features: of the classifiers."""

    genre: str
    lead: str
    speed: float
    melody: float
    tempo: bool
    key: bool
    features: np.ndarray


def analyse(seed: int, duration: float = 30.0) -> Analysis:
    """Compose, render and examine one composition."""
    torch.set_num_threads(1)
    start = time.process_time()
    composition = compose(seed, duration=duration)
    wave = render(composition)
    speed = duration / (time.process_time() - start)
    mono = wave.mean(axis=0)
    return Analysis(
        genre=composition.genre,
        lead=composition.lead.instrument,
        speed=speed,
        melody=melody_agreement(composition, mono),
        tempo=tempo_is_heard(composition, mono),
        key=estimated_key(mono) == composition.key.name,
        features=features(mono),
    )


def melody_agreement(composition: Composition, mono: np.ndarray) -> float:
    """The share of chroma frames [T samples] whose largest bin is a pitch class that the melody plays within one hop of
    the frame's middle, among the frames where it plays."""
    loudest = chroma(torch.from_numpy(mono)).argmax(dim=1).tolist()
    reach = HOP / SAMPLE_RATE
    agreeing = total = 0
    for frame, pitch_class in enumerate(loudest):
        now = frame * reach
        played = {
            note.pitch % 12 for note in composition.lead.notes if note.onset < now + reach and note.offset > now - reach
        }
        total += bool(played)
        agreeing += pitch_class in played
    return agreeing / total


def tempo_is_heard(composition: Composition, mono: np.ndarray) -> bool:
    """Whether librosa's tempo of a mono wave is that of the composition within 8 %, octave errors allowed."""
    tempo = float(librosa.feature.tempo(y=mono, sr=SAMPLE_RATE)[0])
    return any(abs(tempo * octave / composition.bpm - 1) < TEMPO_TOLERANCE for octave in (0.5, 1, 2))


def estimated_key(mono: np.ndarray) -> str | None:
    """The name of the key of a mono wave, as `musicgen.tonality` measures it; None for silence."""
    return tonality.measure(Audio(torch.from_numpy(mono)[None], SAMPLE_RATE))


def features(mono: np.ndarray) -> np.ndarray:
    """MFCC statistics of the sound and of its harmonic part, the pulse, and the sorted mean chroma."""
    low = librosa.resample(mono, orig_sr=SAMPLE_RATE, target_sr=16_000)
    spectrum = np.abs(librosa.stft(low, n_fft=1024, hop_length=512))
    mels = librosa.power_to_db(librosa.feature.melspectrogram(S=spectrum**2, sr=16_000, n_mels=64))
    mfcc = librosa.feature.mfcc(S=mels, n_mfcc=30)
    harmonic = hpss(spectrum)[0]
    tones = librosa.feature.mfcc(
        S=librosa.power_to_db(librosa.feature.melspectrogram(S=harmonic**2, sr=16_000, n_mels=96)), n_mfcc=40
    )
    onsets = onset_strength(S=mels, sr=16_000)
    pulse = librosa.feature.tempogram(onset_envelope=onsets, sr=16_000, win_length=256).mean(axis=1)[1:129]
    classes = np.sort(chroma(torch.from_numpy(mono)).mean(dim=0).numpy())
    statistics = [mfcc.mean(1), mfcc.std(1), np.diff(mfcc).std(1), *np.percentile(mfcc, (10, 90), axis=1)]
    return np.concatenate([*statistics, tones.mean(1), tones.std(1), pulse, classes])


def accuracy(vectors: np.ndarray, labels: Iterable[str]) -> tuple[float, int]:
    """(accuracy of a linear classifier on held-out compositions, their number), without labels too rare to split."""
    from sklearn.model_selection import cross_val_score

    names = np.array(list(labels))
    common = np.array([(names == name).sum() >= FOLDS for name in names])
    return float(cross_val_score(classifier(), vectors[common], names[common], cv=FOLDS).mean()), int(common.sum())


def classifier() -> Pipeline:
    """The linear classifier of genres and lead instruments, not yet fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=400))


@commandline.entry()
def main() -> None:
    """Print one line a figure."""
    parser = commandline.Parser(prog="python -m musicgen.training.corpus.analysis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(analyse, range(options.seed, options.seed + options.count), chunksize=4))
    print(f"speed            {np.median([r.speed for r in results]):.0f} x real time a core (median)")
    print(f"melody in chroma {np.mean([r.melody for r in results]):.3f}")
    print(f"tempo heard      {np.mean([r.tempo for r in results]):.3f}")
    print(f"key heard        {np.mean([r.key for r in results]):.3f}")
    vectors = np.array([r.features for r in results])
    for name, labels in (("genre", [r.genre for r in results]), ("lead", [r.lead for r in results])):
        score, compositions = accuracy(vectors, labels)
        print(f"{name:16s} {score:.3f} held out, {compositions} compositions, {len(set(labels))} labels")


if __name__ == "__main__":
    sys.exit(main())
