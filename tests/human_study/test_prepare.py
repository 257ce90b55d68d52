"""Levels, cutting, anchors, blind names and the settings that drive them."""

import json

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from scipy import signal

from human_study.design import manifest, prepare, stimuli, study_settings
from musicgen import samples
from musicgen.audio import Audio
from musicgen.errors import InputError
from tests.human_study.conftest import STUDY
from tests.test_decoding import silence

RATE = 32000


def tone(seconds, frequency=440.0, gain=0.1, rate=RATE):
    return gain * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)[None, :]


def folder_of(path, system, waves, rate=RATE, prompt="p"):
    writer = samples.Writer(path, system)
    for index, wave in enumerate(waves):
        writer.add(f"s{index}", Audio(torch.from_numpy(np.ascontiguousarray(wave)).float(), rate), prompt=prompt)
    return str(path)


def plain(**more):
    return {"name": "t", "questions": ["OVL"], "trials_per_rater": 1, "attention_checks": 0, "practice": False,
            "headphone_check": "off"} | more  # fmt: skip


@pytest.mark.parametrize("corner", [3500, 7000])
def test_anchors_pass_and_stop(corner):
    impulse = np.zeros((1, 8192))
    impulse[0, 4096] = 1
    response = stimuli.low_pass_anchor(impulse, RATE, corner)
    assert np.abs(response).argmax() == 4096  # no delay
    frequencies, level = signal.freqz(response[0], worN=4096, fs=RATE)
    level = 20 * np.log10(np.abs(level) + 1e-12)
    # The mask of BS.1534-3 §5.1 for 3.5 kHz: ±0.1 dB, 25 dB at 4 kHz, 50 dB at 4.5 kHz; in proportion for 7 kHz.
    assert np.abs(level[frequencies <= corner]).max() < 0.1
    assert level[frequencies >= corner * 8 / 7].max() < -25
    assert level[frequencies >= corner * 9 / 7].max() < -50
    with pytest.raises(InputError, match=f"an anchor of {corner} Hz"):
        stimuli.low_pass_anchor(impulse, 2 * corner, corner)


@pytest.mark.parametrize("rate", [16000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize(("frequency", "least", "most"), [(100, -0.1, 0.1), (3400, -0.1, 0.1), (3500, -0.1, 0.1),
                                                          (4000, -200, -25), (4500, -200, -50), (6000, -200, -50)])  # fmt: skip
def test_the_low_anchor_holds_the_mask_for_tones(rate, frequency, least, most):
    """Measured as a laboratory would: the level of a tone behind the filter against that before it."""
    time = np.arange(rate) / rate
    wave = np.sin(2 * np.pi * frequency * time)[None, :]
    steady = slice(rate // 4, 3 * rate // 4)
    after = stimuli.low_pass_anchor(wave, rate, 3500)[0, steady]
    level = 10 * np.log10(np.mean(after**2) / np.mean(wave[0, steady] ** 2) + 1e-20)
    assert least <= level <= most


def test_headphone_tones():
    clips = stimuli.headphone_stimuli(RATE)
    assert sorted(clip.answer for clip in clips) == [1, 1, 2, 2, 3, 3]
    for clip in clips:
        tones = [clip.wave[:, int(i * 1.0 * RATE) : int((i * 1.0 + 0.7) * RATE)] for i in range(3)]
        left = [np.sqrt(np.mean(part[0] ** 2)) for part in tones]
        assert int(np.argmin(left)) + 1 == clip.answer
        assert min(left) / max(left) == pytest.approx(10 ** (-6 / 20), rel=1e-3)
        in_air = [np.sqrt(np.mean((part[0] + part[1]) ** 2)) for part in tones]  # what loudspeakers add up to
        assert int(np.argmin(in_air)) + 1 != clip.answer


def test_clips_are_equally_long_and_loud(tmp_path):
    ours = folder_of(tmp_path / "ours", "ours", [tone(2.0), tone(3.0, gain=0.4)])
    theirs = folder_of(
        tmp_path / "theirs", "theirs", [np.repeat(tone(2.5, rate=48000), 2, 0), tone(2.1, rate=48000)], 48000
    )
    study = prepare.build(
        study_settings.parse(plain(systems={"ours": ours, "theirs": theirs}), "t"), tmp_path / "study"
    )
    assert study.target_lufs == -14
    for clip in study.clips.values():
        wave, rate = soundfile.read(study.audio_file(clip.lossless), always_2d=True)
        assert wave.shape == (2 * 48000, 2)
        assert rate == 48000
        assert pyloudnorm.Meter(rate).integrated_loudness(wave) == pytest.approx(-14, abs=0.05)
        assert clip.lufs == pytest.approx(-14, abs=0.02)
        assert abs(wave[0]).max() < 1e-3
        assert abs(wave[-1]).max() < 1e-2
    manifest.check_audio(study)


def test_one_loud_peak_lowers_the_target_for_all(tmp_path):
    peaky = tone(2.0, gain=0.02)
    peaky[0, 20000:20010] = 0.9
    ours = folder_of(tmp_path / "ours", "ours", [tone(2.0)])
    theirs = folder_of(tmp_path / "theirs", "theirs", [peaky])
    study = prepare.build(
        study_settings.parse(plain(systems={"ours": ours, "theirs": theirs}), "t"), tmp_path / "study"
    )
    assert study.target_lufs < -20
    loudest = max(clip.dbtp for clip in study.clips.values())
    assert loudest == pytest.approx(-1.0, abs=0.02)
    assert len({clip.lufs for clip in study.clips.values()}) == 1
    report = (study.path / "levels.html").read_text()
    assert "theirs, s0" in report
    assert f"{study.target_lufs:.2f} LUFS" in report


def test_hours_in_a_small_file_are_refused_before_they_are_decoded(tmp_path):
    folder = folder_of(tmp_path / "a", "a", [tone(0.5)])
    (file,) = (tmp_path / "a").rglob("*.flac")
    before = samples.file_sha256(file)
    silence(file, 3 * 3600, 8_000, 1)
    manifest_file = tmp_path / "a" / samples.MANIFEST
    manifest_file.write_text(manifest_file.read_text().replace(before, samples.file_sha256(file)))
    settings = study_settings.parse(plain(systems={"a": folder}), "t")
    with pytest.raises(InputError, match=rf"{file.name} is longer than 600 s: cut it first"):
        prepare.gather(settings)


def test_clips_that_are_too_long_together_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    reference = folder_of(tmp_path / "r", "r", [tone(1.0)] * 2)
    document = plain(systems={"a": folder_of(tmp_path / "a", "a", [tone(1.0)] * 2)}, reference=reference)
    settings = study_settings.parse(document | {"questions": [{"name": "OVL", "method": "mushra"}]}, "t")
    size = 8 * RATE * 2 * (2 + len(settings.questions[0].anchors))
    monkeypatch.setattr(prepare, "MAX_BYTES", size)
    assert len(prepare.gather(settings)[0]) == 4
    monkeypatch.setattr(prepare, "MAX_BYTES", size - 1)
    with pytest.raises(InputError, match=r"8 clips .anchors included. of 1 s with 1 channel at 32000 Hz take 0\.0 GB"):
        prepare.gather(settings)


def test_names_are_blind_and_files_are_those_of_the_manifest(build_study):
    study = build_study()
    files = {file.name for file in (study.path / "audio").iterdir()}
    assert files == {name for clip in study.clips.values() for name in (clip.lossless, clip.compressed)}
    for clip in study.clips.values():
        assert len(clip.name) == 32
        data = study.audio_file(clip.lossless).read_bytes()
        assert not any(word in data for word in (b"bright", b"dull", b"anchor", b"arpeggio"))
    assert oct((study.path / manifest.SECRET).stat().st_mode)[-3:] == "600"
    kinds = {page.question: len(page.stimuli) for page in study.pages.values()}
    assert kinds == {"OVL": 5, "REL": 2, "MEL": 2}
    victim = next(iter(study.clips.values()))
    study.audio_file(victim.lossless).write_bytes(b"x")
    with pytest.raises(InputError, match="differs from the hash"):
        manifest.check_audio(study)


def test_a_manifest_without_its_last_newline_loses_no_clip(tmp_path):
    folder = folder_of(tmp_path / "ours", "ours", [tone(1.0), tone(1.0)])
    manifest_file = tmp_path / "ours" / "manifest.jsonl"
    for end in (b"", b"\r\n\n"):
        manifest_file.write_bytes(manifest_file.read_bytes().rstrip() + end)
        built = prepare.build(study_settings.parse(plain(systems={"ours": folder}), "t"), tmp_path / f"study{len(end)}")
        assert len([clip for clip in built.clips.values() if clip.role == "system"]) == 2


def test_a_manifest_of_an_interrupted_run_is_refused(tmp_path):
    folder = folder_of(tmp_path / "ours", "ours", [tone(1.0), tone(1.0)])
    manifest_file = tmp_path / "ours" / "manifest.jsonl"
    manifest_file.write_bytes(manifest_file.read_bytes()[:-9])
    with pytest.raises(InputError, match="the last line is incomplete") as e:
        prepare.build(study_settings.parse(plain(systems={"ours": folder}), "t"), tmp_path / "study")
    assert "\n" not in str(e.value)


def test_no_machine_paths_in_the_manifest(build_study, study_files):
    text = (build_study().path / manifest.FILE).read_text()
    assert str(study_files) not in text
    assert json.loads(text)["settings"]["systems"] == {"bright": "", "dull": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 9.0}, "has 1.00 s"),
        ({"trials_per_rater": 2}, "rates an item at most once"),
        ({"systems": {"a": "{a}", "b": "{b}"}}, "every system needs the same ids"),
        ({"systems": {"a": "{a}", "b": "{other}"}}, "another prompt"),
        ({"systems": {"a": "{silent}"}}, "silent or below"),
        ({"systems": {"a": "{none}"}}, "is it a samples folder"),
    ],
)
def test_studies_that_cannot_be(tmp_path, change, message):
    folders = {
        "a": folder_of(tmp_path / "a", "a", [tone(1.0)]),
        "b": folder_of(tmp_path / "b", "b", [tone(1.0), tone(1.0)]),
        "other": folder_of(tmp_path / "other", "o", [tone(1.0)], prompt="another"),
        "silent": folder_of(tmp_path / "silent", "s", [np.zeros((1, RATE))]),
        "none": str(tmp_path / "none"),
    }
    document = plain(systems={"a": "{a}"}) | change
    document["systems"] = {name: folder.format(**folders) for name, folder in document["systems"].items()}
    with pytest.raises(InputError, match=message):
        prepare.build(study_settings.parse(document, "t"), tmp_path / "study")
    assert not (tmp_path / "study").exists()
    assert not list(tmp_path.glob(".study*"))


def test_ratings_are_never_overwritten(build_study, study_files):
    study = build_study()
    (study.path / manifest.DATABASE).write_bytes(b"")
    (study_files / "STUDY.yaml").write_text(STUDY)
    with pytest.raises(InputError, match="contains ratings"):
        prepare.build(study_settings.read(study_files / "STUDY.yaml"), study.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rater_per_sample": 5}, "did you mean raters_per_sample"),
        ({"questions": []}, "the list is empty"),
        ({"questions": "OVL"}, "questions is 'OVL': expected a list"),
        ({"questions": [{"name": "OVL", "method": "mushra"}]}, "needs 'reference:'"),
        ({"questions": ["MEL"]}, "needs 'melody:'"),
        ({"questions": ["taste"]}, "no wording for en, de"),
        ({"questions": [{"name": "OVL", "method": "stars"}]}, "method is 'stars'"),
        ({"questions": [{"name": "OVL", "method": "ab"}]}, "the method ab compares systems: at least two"),
        ({"questions": ["OVL", "OVL"]}, "every name must be unique"),
        ({"systems": {"reference": "x"}}, "are reserved"),
        ({"systems": {"=cmd": "x"}}, "system name '=cmd'"),
        ({"raters_per_sample": 0}, "raters_per_sample is 0"),
        ({"raters_per_sample": "5"}, "expected a whole number"),
        ({"practice": 1}, "expected true or false"),
        ({"target_lufs": float("nan")}, "finite"),
        ({"minimum_heard": 1.5}, "minimum_heard is 1.5"),
        ({"headphone_check": "maybe"}, "headphone_check is 'maybe'"),
        ({"attention_checks": 9}, "at most 3"),
        ({"contact": "me"}, "e-mail"),
        ({"rate": 0}, "rate is 0: from 8,000 to 192,000"),
        ({"rate": 10**5000}, "rate is a value of type int that is too long to show"),
        ({"seconds": 10**400}, "seconds is 1000.*finite"),
        ({"lease_minutes": 1e308}, "finite number"),
        ({"retention_days": 10**9}, "retention_days is 1000000000"),
        ({"seed": -1}, "seed is -1"),
        ({"languages": []}, "languages: the list is empty"),
        ({"languages": [["en"]]}, "is no text"),
        ({"languages": ["../en"]}, "is no language"),
        ({"languages": ["en", "en"]}, "listed twice"),
        ({"systems": {"a": ["x"]}}, "expected texts"),
        ({"systems": {1: "x"}}, "expected texts"),
        ({"title": {"en": ["x"]}}, "expected texts"),
        ({"consent": {"en": 5}}, "expected texts"),
        ({"name": ["x"]}, "expected text"),
        ({"name": "x\ud800"}, "no UTF-8 text|letters, digits"),
        ({"contact": "a@b\0"}, "zero byte"),
        ({"questions": [{"name": "OVL", "anchors": ["x"]}]}, "'x' is no whole number of Hz"),
        ({"questions": [{"name": "OVL", "anchors": [float("inf")]}]}, "inf is no whole number of Hz"),
        ({"questions": [{"name": "OVL", "anchors": [10**5000]}]}, "at most 192000 Hz"),
        ({"questions": [{"name": "OVL", "anchors": 5}]}, "expected a list"),
        ({"questions": [["OVL"]]}, "a question must be a mapping"),
        ({"questions": [{"name": "q", "text": {"en": ["x"]}}]}, "expected texts"),
        ({"screening": ["attention"]}, "is no step"),
        ({"prolific": {"completion_code": "a b"}}, "completion_code is 'a b'"),
        ({"prolific": {"completion_code": "X", "minutes": 0}}, "minutes is 0"),
        ({"prolific": {"code": "x"}}, "no setting 'code'"),
        ({"prolific": {}}, "prolific needs 'completion_code:'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        study_settings.parse(plain(systems={"a": "x"}) | change, "STUDY.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("STUDY.yaml: ")


def test_settings_survive_the_manifest(study_files):
    (study_files / "STUDY.yaml").write_text(STUDY)
    first = study_settings.read(study_files / "STUDY.yaml")
    again = study_settings.parse(json.loads(json.dumps(study_settings.as_document(first))), "manifest")
    assert study_settings.as_document(again) == study_settings.as_document(first)
