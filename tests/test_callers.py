"""What Python callers pass: arrays, NumPy's numbers, dicts, None. Taken as what it means, or refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import musicgen
from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.model import MusicGen
from tests.conftest import GOLDEN

TUNE = GOLDEN / "chroma" / "melody_a.wav"


@pytest.fixture(scope="module")
def model(audiocraft_folder) -> MusicGen:
    return musicgen.load(audiocraft_folder("melody"), "cpu")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second in stereo."""
    path = tmp_path_factory.mktemp("begun") / "begun.flac"
    wave = audio.read(TUNE).wave[:, :16_000]
    audio.write(path, Audio(torch.cat([wave, wave.flip(1)]), 32_000))
    return path


def codes(model: MusicGen, prompts="x", duration=0.2, **arguments) -> torch.Tensor:
    return model.generate_codes(prompts, duration, **({"seed": 3} | arguments))


def test_no_prompt_is_no_text(model: MusicGen) -> None:
    expected = codes(model, [""])
    for prompts in (None, "", [None]):
        assert codes(model, prompts).equal(expected)
    assert codes(model, np.array(["x", "y"])).equal(codes(model, ["x", "y"]))


def test_numbers_of_other_libraries(model: MusicGen) -> None:
    expected = codes(model, ["x", "y"], 0.5, seed=7)
    for seed in (np.int64(7), torch.tensor(7), np.array([7, 8]), torch.tensor([7, 8]), [np.int32(7), 8]):
        assert codes(model, ["x", "y"], np.float32(0.5), seed=seed).equal(expected)
    assert codes(model, "x", np.int64(1)).equal(codes(model, "x", 1.0))


def test_options_as_a_dict(model: MusicGen) -> None:
    options = musicgen.GenerationOptions(top_k=5, temperature=0.5, do_sample=False)
    numpy = {"top_k": np.int64(5), "temperature": np.float32(0.5), "do_sample": np.bool_(False)}
    assert codes(model, options=numpy).equal(codes(model, options=options))
    assert musicgen.GenerationOptions(**numpy) == options
    assert [type(value) for value in musicgen.GenerationOptions(**numpy).as_dict().values()][:3] == [bool, float, int]


def test_samples_beside_their_rate(model: MusicGen, begun: Path) -> None:
    """As soundfile and torchaudio give them, and in the types that they have."""
    expected = codes(model, duration=0.6, continue_from=str(begun))
    samples, rate = soundfile.read(begun)
    assert samples.dtype == np.float64
    wave = torch.from_numpy(samples.T.copy())  # [C, T], as torchaudio's
    for given in (begun, (samples, rate), (wave, rate), (wave.float(), np.int64(rate)), Audio(wave, rate),
                  Audio(samples.T, rate), [(samples, rate)]):  # fmt: skip
        assert codes(model, duration=0.6, continue_from=given).equal(expected)
    mono = soundfile.read(TUNE)
    arguments = {"separate": False}
    expected = codes(model, melody=TUNE, **arguments)
    for given in (mono, Audio(mono[0][None], mono[1]), [mono]):
        assert codes(model, melody=given, **arguments).equal(expected)


def test_chroma_frames_of_numpy(model: MusicGen) -> None:
    frames = np.eye(12)[[0, 4, 7, 0]]
    assert codes(model, melody=frames).equal(codes(model, melody=torch.from_numpy(frames)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": 3}, "the prompt is 3: it must be text"),
        ({"prompts": [b"x"]}, "the prompt is b'x': it must be text"),
        ({"prompts": "caf\udce9"}, r"the prompt holds bytes that are no UTF-8 text, at 'caf\\udce9'"),
        ({"seed": 1.5}, "seed is 1.5: it must be a whole number"),
        ({"seed": True}, "seed is True"),
        ({"seed": "7"}, "seed is '7'"),
        ({"seed": torch.tensor(1.5)}, r"seed is tensor\(1.5"),
        ({"seed": [1, 2]}, "2 seeds for 1 clip:"),
        ({"duration": "1"}, "duration is '1': it must be a number of seconds"),
        ({"duration": 10**400}, "duration is 1000.*: it must be a number of seconds"),
        ({"duration": np.array([1.0])}, r"duration is array\(\[1.\]\)"),
        ({"options": {"top_q": 1}}, "unknown generation options .'top_q'"),
        ({"options": 3}, "the options are 3: a GenerationOptions, or a dict"),
        ({"options": {"do_sample": "no"}}, "do_sample is 'no': it must be True or False"),
        ({"options": {"negative_prompt": "\udce9"}}, "negative_prompt holds bytes that are no UTF-8 text"),
        ({"continue_from": np.zeros(100)}, "continue from is an array without its sample rate: pass .samples, rate"),
        ({"continue_from": (np.zeros(100, np.int16), 32_000)}, "a waveform is a float tensor"),
        ({"continue_from": (np.zeros((1, 2, 3)), 32_000)}, r"has samples of shape \[1, 2, 3\]"),
        ({"continue_from": (np.zeros(100), 32_000.5)}, "sample rate is 32000.5: it must be a whole number of Hz"),
        ({"continue_from": 3}, "the audio to continue from is 3 .int.: it must be a file"),
        ({"melody": np.zeros(1000)}, r"chroma frames are \[frames, 12\], not \[1000\]; a recording is .samples, rate"),
        ({"melody": (np.zeros(1000, complex), 32_000)}, "a waveform is a float tensor"),
        ({"melody": {"path": "x"}}, "the melody is .*: it must be a file"),
    ],
)
def test_what_cannot_be_meant_is_refused(model: MusicGen, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        codes(model, **arguments)
    assert "\n" not in str(caught.value)


def test_a_waveform_is_float32() -> None:
    clip = Audio(np.zeros((1, 8)), np.float64(32_000))
    assert (clip.wave.dtype, clip.rate, type(clip.rate)) == (torch.float32, 32_000, int)
    for wave in ([[0.0]], None, torch.zeros(3), torch.zeros(1, 3, dtype=torch.int16)):
        with pytest.raises(InputError, match="a waveform is a float tensor"):
            Audio(wave, 32_000)


def test_raw_samples_do_not_tell_their_rate(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"x\.raw: .*samples without a header"):
        audio.read(tmp_path / "x.raw")


# Words that a model does not know


def test_the_share_of_a_text_that_a_model_does_not_know() -> None:
    model = musicgen.load("mini", "cpu")
    assert [model.unknown(text) for text in (None, "", "slow piano", "Привет мир", "音楽")] == [0, 0, 0, 1, 1]
    assert 0 < model.unknown("slow piano, né") < 0.5
    # two of nothing else are the same music: the reason to say so
    assert model.generate_codes("音楽", 0.2, seed=1).equal(model.generate_codes("中文", 0.2, seed=1))


def test_separation_as_in_training(audiocraft_folder, hub_cache, tmp_path: Path) -> None:
    """None is no for the embedded models, which work without Demucs; yes for the published ones; and is kept by files."""
    from tests import standins

    tune = Audio(audio.read(TUNE).wave[:, :32_000], 32_000)
    mini = musicgen.load("mini-melody", "cpu")
    mini.melody.separator = lambda _: pytest.fail("separated")
    assert codes(mini, melody=tune).equal(codes(mini, melody=tune, separate=False))
    standins.publish_demucs(hub_cache, tmp_path)
    published = musicgen.load(audiocraft_folder("melody"), "cpu")
    separated, mix = (codes(published, melody=tune, separate=one) for one in (True, False))
    assert codes(published, melody=tune).equal(separated)
    assert not mix.equal(separated)
    for separated in (True, False):
        published.melody.separated = separated
        for layout in ("transformers", "audiocraft"):
            folder = tmp_path / f"{layout}-{separated}"
            musicgen.save(published, folder, layout)
            assert musicgen.load(folder, "cpu").melody.separated is separated
