"""From samples folders to a study folder: clips of equal length and loudness, blind file names, hashes, a report of all levels.

Every clip is normalised to one common target (BS.1770 integrated loudness). If that would raise the true peak of a clip above
the ceiling, the target is lowered for all clips of the study, so that no clip is limited or clipped. This module does not
depend on raters, databases or web pages.
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
from musicgen.limiter import true_peak
from musicgen.options import check_text
from musicgen.text_format import counted

from . import levels_report, manifest, stimuli
from .manifest import StudyClip, StudyPage
from .questions import Question
from .stimuli import Waveform
from .study_settings import StudySettings

ATTENTION_BEEPS = (3, 5, 8)
"""Number of beeps of the attention checks; the right answer is ten times that number."""

MAX_SECONDS = 600.0
"""Of a system's clip, before it is cut to the study's length."""

MAX_BYTES = 8 << 30
"""Of all clips of a study at once, as 64-bit samples: their levels are set together."""

PRACTICE_SECONDS = 3.0
"""Maximum length of the practice clip; it is no longer than the clips of the study."""


@dataclass(frozen=True)
class Source:
    """One clip of a samples folder, decoded and cut to length.

    Attributes:
        role: "system", "reference", "melody" or "anchor".
        system: name of the system under test, reference or anchor.
        item: id of the sample.
        prompt: its text prompt.
        wave: [C, T].
        sha256: of the file.
    """

    role: str
    system: str
    item: str
    prompt: str
    wave: Waveform
    sha256: str


@dataclass(frozen=True)
class Levels:
    """The outcome of loudness normalisation.

    Attributes:
        target_lufs: loudness of every clip.
        gains_db: gain of each clip.
        limited_by: system and item of the clip whose true peak lowered the target, None where none did.
    """

    target_lufs: float
    gains_db: tuple[float, ...]
    limited_by: str | None


def build(settings: StudySettings, out: str | Path) -> manifest.Study:
    """Build a study folder. It appears complete or not at all; a folder that holds ratings is never replaced.

    Args:
        settings: of the study.
        out: the folder.

    Returns:
        The study.

    Raises:
        InputError: the folder is in use, or the clips do not make a study.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file: choose another name for the study folder")
    if (out / manifest.DATABASE).exists():
        raise InputError(
            f"{out}: contains ratings ({manifest.DATABASE}): build into another folder, or move this one away"
        )
    if out.exists() and any(out.iterdir()) and not (out / manifest.FILE).is_file():
        raise InputError(f"{out}: contains files that are not of a study: choose another folder")
    sources, rate = gather(settings)
    sources += anchors(settings, sources, rate)
    items = list(dict.fromkeys(source.item for source in sources))
    if settings.trials_per_rater > len(items):
        raise InputError(
            f"trials_per_rater is {settings.trials_per_rater}, and the study has {counted(len(items), 'item')}: "
            "a rater rates an item at most once"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        (work / manifest.AUDIO).mkdir(mode=0o700)
        levels = level(sources, rate, settings.target_lufs, settings.peak_dbtp)
        clips = _write_rated(work, sources, levels, rate)
        seconds = min(PRACTICE_SECONDS, sources[0].wave.shape[1] / rate)
        clips += _write_test_signals(work, settings, levels.target_lufs, rate, seconds)
        pages = make_pages(settings, clips, prompts_of(sources))
        manifest.write(work, settings, clips, pages, levels.target_lufs)
        report = levels_report.html(settings, clips, levels.target_lufs, levels.limited_by)
        (work / "levels.html").write_text(report, encoding="utf-8")
        for name in (manifest.SECRET, manifest.ADMIN_TOKEN):
            (work / name).write_text(secrets.token_urlsafe(32), encoding="utf-8")
            (work / name).chmod(0o600)
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)  # mkdtemp made it for this user alone: ratings and secrets come to lie in it
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return manifest.read(out)


def gather(settings: StudySettings) -> tuple[list[Source], int]:
    """Decode all clips at one sample rate and number of channels, cut to one length.

    Args:
        settings: of the study.

    Returns:
        The clips, and their sample rate in Hz.

    Raises:
        InputError: the folders have different ids, a clip is shorter than the study's clips, or all together are too long.
    """
    folders = [("system", name, _samples(folder)) for name, folder in settings.systems.items()]
    if settings.reference is not None:
        folders.append(("reference", "reference", _samples(settings.reference)))
    if settings.melody is not None:
        folders.append(("melody", "melody", _samples(settings.melody)))
    items = list(folders[0][2].by_id())
    clips = []
    for role, system, folder in folders:
        by_id = folder.by_id()
        lacking = [item for item in items if item not in by_id]
        extra = [] if role == "melody" else [item for item in by_id if item not in items]
        if lacking or extra:
            raise InputError(
                f"{folder.path}: {system} and {folders[0][1]} contain different clips ({', '.join((lacking + extra)[:3])}, "
                f"{len(lacking + extra)} in all): every system needs the same ids"
            )
        clips += [(role, system, by_id[item], folder.file(by_id[item])) for item in items]
    # Every file is read twice: for the common format, then in that format. Full recordings are never in memory together.
    extents = [audio.measure(file, MAX_SECONDS) for *_, file in clips]
    rate = settings.rate or max(extent.rate for extent in extents)
    channels = max(min(2, extent.channels) for extent in extents)
    shortest = min(range(len(clips)), key=lambda index: extents[index].duration)
    seconds = settings.seconds or extents[shortest].duration
    if extents[shortest].duration < seconds - 1 / rate:
        _, system, sample, _ = clips[shortest]
        raise InputError(
            f"seconds is {seconds:g}, and {system}'s clip {sample.id} has {extents[shortest].duration:.2f} s: "
            "shorten the study's clips or replace this one"
        )
    length = int(seconds * rate)
    corners = {corner for question in settings.questions for corner in question.anchors}
    count = len(clips) + len(corners) * sum(role == "reference" for role, *_ in clips)
    size = 8 * count * channels * length
    if size > MAX_BYTES:
        raise InputError(
            f"{counted(count, 'clip')} (anchors included) of {seconds:g} s with {counted(channels, 'channel')} at {rate} Hz "
            f"take {size / 1e9:.1f} GB of memory, {MAX_BYTES / 1e9:.1f} GB at most: set 'seconds' or 'rate' lower, or take "
            "fewer clips"
        )
    sources = []
    for role, system, sample, file in clips:
        wave = audio.read(file, MAX_SECONDS, channels=channels, rate=rate).wave[:, :length].double().numpy()
        # Resampling may yield one sample less: it is padded with silence, under the fade-out.
        wave = np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
        sources.append(Source(role, system, sample.id, sample.prompt, stimuli.faded(wave, rate), sample.sha256))
    return sources, rate


def _samples(folder: str) -> samples.SamplesFolder:
    """A samples folder whose manifest lists all of its clips, with texts that a database and a page can hold."""
    file = Path(folder) / samples.MANIFEST
    try:
        found = samples.read(folder, complete=True)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    for sample in found.samples:
        for name, text in (("id", sample.id), ("prompt", sample.prompt)):
            check_text(f"{file}: {name}", text)
            if "\0" in text:
                raise InputError(f"{file}: {name} {text[:40]!r} holds a zero byte")
    return found


def anchors(settings: StudySettings, sources: Sequence[Source], rate: int) -> list[Source]:
    """Make the low-passed anchors that the questions ask for.

    Args:
        settings: of the study.
        sources: all clips; those with the role "reference" are filtered.
        rate: in Hz.
    """
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
    """Item -> the prompt that all systems share.

    Raises:
        InputError: two systems have different prompts for one item.
    """
    prompts: dict[str, str] = {}
    for source in sources:
        if source.role == "system" and prompts.setdefault(source.item, source.prompt) != source.prompt:
            raise InputError(f"sample {source.item}: {source.system} has another prompt than the other systems")
    return prompts


def level(sources: Sequence[Source], rate: int, target: float, ceiling: float) -> Levels:
    """Find the common loudness and the gain of each clip (BS.1770).

    Args:
        sources: all clips.
        rate: in Hz.
        target: wanted loudness in LUFS.
        ceiling: highest true peak in dBTP.

    Returns:
        The target, lowered where a true peak would pass the ceiling, and the gains.

    Raises:
        InputError: a clip is silent.
    """
    loudnesses, headrooms = [], []
    for source in sources:
        loudness = _loudness(source.wave, rate)
        if not math.isfinite(loudness):
            raise InputError(
                f"{source.system}'s clip {source.item} is silent or below -70 LUFS, "
                "BS.1770's absolute gate: its loudness cannot be set"
            )
        loudnesses.append(loudness)
        headrooms.append(ceiling - (true_peak(source.wave) + target - loudness))
    tightest = int(np.argmin(headrooms))
    lowered = target + min(0.0, headrooms[tightest])
    limited_by = f"{sources[tightest].system}, {sources[tightest].item}" if lowered < target else None
    return Levels(lowered, tuple(lowered - loudness for loudness in loudnesses), limited_by)


def make_pages(settings: StudySettings, clips: Iterable[StudyClip], prompts: dict[str, str]) -> list[StudyPage]:
    """The pages of a study: one for each question and item, for each pair of systems where two are compared, or for each clip.

    Args:
        settings: of the study.
        clips: all clips; practice and attention clips make pages of their own.
        prompts: item -> text prompt.

    Raises:
        InputError: a question shows the prompt, and a sample has none.
    """
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
                if len(names) > manifest.MAX_STIMULI:
                    raise InputError(
                        f"question {question.name}: a page would have {counted(len(names), 'clip')}: at most "
                        f"{manifest.MAX_STIMULI}"
                    )
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
    if question.kind.compares:
        pairs = list(itertools.combinations(systems, 2))
        if question.hidden_reference:
            pairs = [("reference", system) for system in systems]
            systems = {"reference": found["reference", "reference", item]} | systems
        return [(f"{question.name}/{item}/{one} or {other}", (systems[one], systems[other])) for one, other in pairs]
    rated = list(systems.values())
    if question.hidden_reference:
        rated.append(found["reference", "reference", item])
    rated += [found["anchor", f"anchor {corner} Hz", item] for corner in question.anchors]
    if question.stimuli == "single":
        names = {name: system for (_, system, _), name in found.items()}
        return [(f"{question.name}/{item}/{names[name]}", (name,)) for name in rated]
    return [(f"{question.name}/{item}", tuple(rated))]


def _write_rated(work: Path, sources: Sequence[Source], levels: Levels, rate: int) -> list[StudyClip]:
    return [
        _store(
            work, source.wave * 10 ** (gain / 20), rate, source.role, source.system, source.item, gain, source.sha256
        )
        for source, gain in zip(sources, levels.gains_db, strict=True)
    ]


def _write_test_signals(
    work: Path, settings: StudySettings, target: float, rate: int, seconds: float
) -> list[StudyClip]:
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
            _store(
                work,
                stimuli.beeps(count, rate, max(ATTENTION_BEEPS)),
                rate,
                "attention",
                f"beeps {count}",
                "",
                0.0,
                "",
                10 * count,
            )
            for count in ATTENTION_BEEPS
        ]
    return clips


def _normalised(wave: Waveform, rate: int, target: float, ceiling: float) -> tuple[Waveform, float]:
    # The practice clip is not rated: it may be quieter than the target, which stays as it is.
    loudness = _loudness(wave, rate)
    gain = min(target - loudness, ceiling - true_peak(wave)) if math.isfinite(loudness) else 0.0
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
    # A random name for every clip: file names reveal neither system nor order.
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
        dbtp=round(max(true_peak(wave), -99.0), 2),
        gain_db=round(gain, 2),
        source_sha256=source,
        lossless_sha256=hashlib.sha256(lossless).hexdigest(),
        compressed_sha256=hashlib.sha256(compressed).hexdigest(),
        answer=answer,
    )


def _loudness(wave: Waveform, rate: int) -> float:
    return audio.loudness(audio.Audio(torch.from_numpy(np.ascontiguousarray(wave)), rate))
