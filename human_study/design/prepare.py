"""Samples folders in, a built study out: equal length, equal loudness, blind names, hashes, and a report of every level.

Every clip gets the gain that brings it to one common target (BS.1770 integrated loudness). Where a clip's true peak would
pass the ceiling there, the target is lowered for all clips of the study, so that nobody is louder for having been limited.
This file knows nothing of raters, databases or pages in a browser.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from musicgen import audio, samples
from musicgen.errors import InputError

from . import levels_report, manifest, stimuli
from .manifest import StudyClip, StudyPage
from .stimuli import Waveform
from .study_settings import Question, StudySettings

ATTENTION_BEEPS = (3, 5, 8)
"""How often the clips of the attention checks beep; the right answer is ten times that."""

PRACTICE_SECONDS = 3.0
"""At most; no longer than the clips of the study."""


@dataclass(frozen=True)
class Source:
    """One clip of a samples folder, decoded and cut. wave: float64 [C, T]."""

    role: str
    system: str
    item: str
    prompt: str
    wave: Waveform
    sha256: str


@dataclass(frozen=True)
class Levels:
    """What the loudness step decided. limited_by: the clip whose peak lowered the target, None where nothing did."""

    target_lufs: float
    gains_db: tuple[float, ...]
    limited_by: str | None


def build(settings: StudySettings, out: str | Path) -> manifest.Study:
    """Build the study folder `out`; it appears whole or not at all, and a folder with ratings is never replaced."""
    out = Path(out)
    if (out / manifest.DATABASE).exists():
        raise InputError(
            f"{out}: holds ratings ({manifest.DATABASE}): build into another folder, or move this one away"
        )
    if out.exists() and any(out.iterdir()) and not (out / manifest.FILE).is_file():
        raise InputError(f"{out}: is a folder with other files in it: name a new folder")
    sources, rate = gather(settings)
    sources += anchors(settings, sources, rate)
    items = list(dict.fromkeys(source.item for source in sources))
    if settings.trials_per_rater > len(items):
        raise InputError(
            f"trials_per_rater is {settings.trials_per_rater}, and there are {len(items)} items: "
            "a rater never meets an item twice"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        (work / manifest.AUDIO).mkdir()
        levels = level(sources, rate, settings.target_lufs, settings.peak_dbtp)
        clips = _write_rated(work, sources, levels, rate)
        seconds = min(PRACTICE_SECONDS, sources[0].wave.shape[1] / rate)
        clips += _write_helpers(work, settings, levels.target_lufs, rate, seconds)
        pages = make_pages(settings, clips, prompts_of(sources))
        manifest.write(work, settings, clips, pages, levels.target_lufs)
        (work / "levels.html").write_text(levels_report.html(settings, clips, levels.target_lufs, levels.limited_by))
        for name in (manifest.SECRET, manifest.ADMIN_TOKEN):
            (work / name).write_text(secrets.token_urlsafe(32))
            (work / name).chmod(0o600)
        if out.exists():
            shutil.rmtree(out)
        work.chmod(0o755)
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return manifest.read(out)


def gather(settings: StudySettings) -> tuple[list[Source], int]:
    """Every clip, at one rate and one number of channels, cut to one length; and that rate in Hz."""
    folders = [("system", name, samples.read(folder)) for name, folder in settings.systems.items()]
    if settings.reference is not None:
        folders.append(("reference", "reference", samples.read(settings.reference)))
    if settings.melody is not None:
        folders.append(("melody", "melody", samples.read(settings.melody)))
    items = list(folders[0][2].by_id())
    decoded = []
    for role, system, folder in folders:
        by_id = folder.by_id()
        lacking = [item for item in items if item not in by_id]
        extra = [] if role == "melody" else [item for item in by_id if item not in items]
        if lacking or extra:
            raise InputError(
                f"{folder.path}: {system} and {folders[0][1]} hold different clips ({', '.join((lacking + extra)[:3])}, "
                f"{len(lacking + extra)} in all): every system needs the same ids"
            )
        decoded += [(role, system, by_id[item], audio.read(folder.file(by_id[item]))) for item in items]
    rate = settings.rate or max(clip.rate for *_, clip in decoded)
    channels = max(min(2, clip.wave.shape[0]) for *_, clip in decoded)
    shortest = min(decoded, key=lambda entry: entry[3].duration)
    seconds = settings.seconds or shortest[3].duration
    if shortest[3].duration < seconds - 1 / rate:
        raise InputError(
            f"seconds is {seconds:g}, and {shortest[1]}'s clip {shortest[2].id} has {shortest[3].duration:.2f} s: "
            "shorten the study's clips or replace this one"
        )
    length = int(seconds * rate)
    sources = []
    for role, system, sample, clip in decoded:
        wave = clip.resampled(rate).with_channels(channels).wave[:, :length].double().numpy()
        # Resampling may end a sample early: the missing one is silence under the fade.
        wave = np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
        sources.append(Source(role, system, sample.id, sample.prompt, stimuli.faded(wave, rate), sample.sha256))
    return sources, rate


def anchors(settings: StudySettings, sources: Sequence[Source], rate: int) -> list[Source]:
    """The low-passed copies of the recordings that the questions ask for."""
    corners = sorted({corner for question in settings.questions for corner in question.anchors})
    return [
        replace(
            source, role="anchor", system=f"anchor {corner} Hz", wave=stimuli.low_pass_anchor(source.wave, rate, corner)
        )
        for source in sources
        if source.role == "reference"
        for corner in corners
    ]


def prompts_of(sources: Sequence[Source]) -> dict[str, str]:
    """item -> the prompt that every system answered."""
    prompts: dict[str, str] = {}
    for source in sources:
        if source.role == "system" and prompts.setdefault(source.item, source.prompt) != source.prompt:
            raise InputError(f"sample {source.item}: {source.system} answers another prompt than the other systems")
    return prompts


def level(sources: Sequence[Source], rate: int, target: float, ceiling: float) -> Levels:
    """The gain of each clip in dB, and the one target that all of them reach without passing `ceiling` dBTP."""
    loudnesses, headrooms = [], []
    for source in sources:
        loudness = _loudness(source.wave, rate)
        if not math.isfinite(loudness):
            raise InputError(
                f"{source.system}'s clip {source.item} is silent or under -70 LUFS: it has no loudness to set"
            )
        loudnesses.append(loudness)
        headrooms.append(ceiling - (stimuli.true_peak(source.wave) + target - loudness))
    tightest = int(np.argmin(headrooms))
    lowered = target + min(0.0, headrooms[tightest])
    limited_by = f"{sources[tightest].system}, {sources[tightest].item}" if lowered < target else None
    return Levels(lowered, tuple(lowered - loudness for loudness in loudnesses), limited_by)


def make_pages(settings: StudySettings, clips: Iterable[StudyClip], prompts: dict[str, str]) -> list[StudyPage]:
    """The pages of a study: per question one an item, for A/B one an item and pair; practice and checks besides."""
    clips = list(clips)
    found = {(clip.role, clip.system, clip.item): clip.name for clip in clips}
    items = list(dict.fromkeys(clip.item for clip in clips if clip.role == "system"))
    pages = []
    for question in settings.questions:
        for item in items:
            prompt = prompts.get(item, "")
            if question.show_prompt and not prompt:
                raise InputError(f"question {question.name} shows the prompt, and sample {item} has none")
            left = question.open_reference
            open_reference = None if left == "none" else found[left, left, item]
            for key, names in _rated_clips(settings, question, item, found):
                pages.append(
                    StudyPage(key, "rating", question.name, question.method, item, prompt, names, open_reference)
                )
    practice = [clip.name for clip in clips if clip.role == "practice"]
    if practice:
        pages.append(StudyPage("practice", "practice", "practice", "mushra", "", "", tuple(practice), practice[0]))
    for clip in clips:
        if clip.role == "attention":
            pages.append(StudyPage(f"check {clip.answer}", "attention", "attention", "rating", "", "", (clip.name,)))
    return pages


def _rated_clips(
    settings: StudySettings, question: Question, item: str, found: dict[tuple[str, str, str], str]
) -> list[tuple[str, tuple[str, ...]]]:
    systems = {system: found["system", system, item] for system in settings.systems}
    if question.method == "ab":
        return [
            (f"{question.name}/{item}/{one} or {other}", (systems[one], systems[other]))
            for one, other in itertools.combinations(systems, 2)
        ]
    rated = list(systems.values())
    if question.hidden_reference:
        rated.append(found["reference", "reference", item])
    rated += [found["anchor", f"anchor {corner} Hz", item] for corner in question.anchors]
    return [(f"{question.name}/{item}", tuple(rated))]


def _write_rated(work: Path, sources: Sequence[Source], levels: Levels, rate: int) -> list[StudyClip]:
    return [
        _store(
            work, source.wave * 10 ** (gain / 20), rate, source.role, source.system, source.item, gain, source.sha256
        )
        for source, gain in zip(sources, levels.gains_db, strict=True)
    ]


def _write_helpers(work: Path, settings: StudySettings, target: float, rate: int, seconds: float) -> list[StudyClip]:
    clips = []
    if settings.practice:
        full = stimuli.practice_loop(rate, seconds, np.random.default_rng(settings.seed))
        waves = [("practice reference", full)]
        corners = [corner for corner in (3500, 7000) if 3 * corner < rate]
        waves += [(f"practice {corner} Hz", stimuli.low_pass_anchor(full, rate, corner)) for corner in corners]
        for name, wave in waves:
            normalised, gain = _normalised(stimuli.faded(wave, rate), rate, target, settings.peak_dbtp)
            clips.append(_store(work, normalised, rate, "practice", name, "", gain, ""))
    if settings.headphone_check != "off":
        clips += [
            _store(work, clip.wave, rate, "headphone", f"tones {number}", "", 0.0, "", clip.answer)
            for number, clip in enumerate(stimuli.headphone_stimuli(rate), 1)
        ]
    if settings.attention_checks:
        clips += [
            _store(work, stimuli.beeps(count, rate), rate, "attention", f"beeps {count}", "", 0.0, "", 10 * count)
            for count in ATTENTION_BEEPS
        ]
    return clips


def _normalised(wave: Waveform, rate: int, target: float, ceiling: float) -> tuple[Waveform, float]:
    # The practice clip is nobody's: it stops at the ceiling instead of lowering the whole study.
    loudness = _loudness(wave, rate)
    gain = min(target - loudness, ceiling - stimuli.true_peak(wave)) if math.isfinite(loudness) else 0.0
    return wave * 10 ** (gain / 20), gain


def _store(
    work: Path,
    wave: Waveform,
    rate: int,
    role: str,
    system: str,
    item: str,
    gain: float,
    source: str,
    answer: int | None = None,
) -> StudyClip:
    clip = audio.Audio(torch.from_numpy(np.ascontiguousarray(wave)).float(), rate)
    # A fresh random name for every clip: neither order nor text tells where it comes from.
    name = secrets.token_hex(16)
    lossless, compressed = audio.encode(clip, ".flac"), audio.encode(clip, ".mp3")
    (work / manifest.AUDIO / f"{name}.flac").write_bytes(lossless)
    (work / manifest.AUDIO / f"{name}.mp3").write_bytes(compressed)
    return StudyClip(
        name=name,
        role=role,
        system=system,
        item=item,
        seconds=wave.shape[1] / rate,
        lufs=round(max(_loudness(wave, rate), -99.0), 2),
        dbtp=round(max(stimuli.true_peak(wave), -99.0), 2),
        gain_db=round(gain, 2),
        source_sha256=source,
        lossless_sha256=hashlib.sha256(lossless).hexdigest(),
        compressed_sha256=hashlib.sha256(compressed).hexdigest(),
        answer=answer,
    )


def _loudness(wave: Waveform, rate: int) -> float:
    return audio.loudness(audio.Audio(torch.from_numpy(np.ascontiguousarray(wave)), rate))
