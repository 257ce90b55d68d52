"""Generation: what each option does, shown by identities on tiny random models."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import DacConfig, DacModel

import musicgen
from musicgen import patterns
from musicgen.audio import Audio
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.fuser import Fuser
from musicgen.errors import InputError
from musicgen.generate import generate_codes
from musicgen.guidance import guidance_rows, guided
from musicgen.lm import LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.sampling import ClipStream
from musicgen.tokenizers import DacTokenizer, frames_of
from tests.conftest import GOLDEN, TEXTS

SAMPLED = musicgen.GenerationOptions(guidance_scale=3.0, top_k=20)
GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)
LONG = "a very long and detailed description of drums, guitars, piano and strings that play together"


@pytest.fixture(scope="module", params=["text", "melody", "stereo"])
def model(request: pytest.FixtureRequest, audiocraft_folder) -> MusicGen:
    return musicgen.load(audiocraft_folder(request.param))


@pytest.fixture(scope="module")
def text_model(audiocraft_folder) -> MusicGen:
    return musicgen.load(audiocraft_folder("text"))


@pytest.fixture(scope="module")
def melody_model(audiocraft_folder) -> MusicGen:
    return musicgen.load(audiocraft_folder("melody"))


def melody_for(model: MusicGen, *stems: str | None):
    if model.melody is None:
        return None
    return [None if stem is None else str(GOLDEN / "chroma" / f"{stem}.wav") for stem in stems]


@pytest.mark.parametrize(
    "options",
    [
        SAMPLED,
        dataclasses.replace(SAMPLED, melody_guidance_scale=2.0),
        dataclasses.replace(SAMPLED, negative_prompt="noise"),
    ],
    ids=["joint", "separate", "negative"],
)
def test_a_clip_does_not_depend_on_its_batch(model: MusicGen, options: musicgen.GenerationOptions) -> None:
    prompts = [TEXTS[0], None, LONG, TEXTS[1]]
    melodies = ["melody_a", None, "melody_b", None]
    seeds = [11, 12, 13, 14]
    together = model.generate_codes(
        prompts, 0.6, seed=seeds, melody=melody_for(model, *melodies), options=options, separate=False
    )
    for i in range(4):
        alone = model.generate_codes(
            [prompts[i]], 0.6, seed=seeds[i], melody=melody_for(model, melodies[i]), options=options, separate=False
        )
        assert torch.equal(together[i : i + 1], alone)


def test_seeds(text_model: MusicGen) -> None:
    first = text_model.generate_codes(TEXTS, 0.4, seed=3, options=SAMPLED)
    assert torch.equal(first, text_model.generate_codes(TEXTS, 0.4, seed=[3, 4], options=SAMPLED))
    assert not torch.equal(first, text_model.generate_codes(TEXTS, 0.4, seed=5, options=SAMPLED))
    unseeded = [text_model.generate_codes(TEXTS, 0.4, options=SAMPLED) for _ in range(2)]
    assert not torch.equal(*unseeded)


@pytest.mark.parametrize("name", list(patterns.BY_NAME))
@pytest.mark.parametrize("known", [0, 5])
def test_every_pattern_generates_what_the_model_predicts(name: str, known: int) -> None:
    """Step by step with a cache = one pass over the finished sequence without one."""
    torch.manual_seed(0)
    config = LMConfig(dim=32, num_heads=4, num_layers=2, num_codebooks=4, codebook_size=20)
    lm = LanguageModel(config).double().eval()
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[1] ** 0.5)
    text = Condition(torch.randn(2, 3, 32).double(), torch.tensor([[True, True, False], [True, True, True]]))
    fuser = Fuser({"text": "cross"}, cross_attention=True)
    guidance = guided({"text": text}, {"text": text.zeroed()}, guidance_rows(GREEDY, ["text"]), fuser)
    pattern = patterns.named(name, 4)
    prompt = torch.randint(0, 20, (2, 4, known)) if known else None
    steps = list(generate_codes(lm, pattern, guidance, 12, GREEDY, [ClipStream(0), ClipStream(1)], prompt=prompt))
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    codes = torch.cat(([prompt] if prompt is not None else []) + [step.codes for step in steps], dim=2)
    assert codes.shape == (2, 4, 12)

    layout = pattern.layout(12)
    sequence = layout.build(codes, config.special_token)
    with torch.no_grad():
        logits = guidance.mix(lm(sequence.repeat(2, 1, 1), guidance.conditions))
    predicted, mask = layout.revert_logits(logits)
    assert mask.all()
    assert torch.equal(predicted.argmax(-1)[:, :, known:], codes[:, :, known:])


def test_equal_separate_scales_are_joint_guidance(melody_model: MusicGen) -> None:
    arguments = {"melody": melody_for(melody_model, "melody_a"), "separate": False}
    joint = melody_model.generate_codes([TEXTS[0]], 0.6, options=GREEDY, **arguments)
    both = dataclasses.replace(GREEDY, melody_guidance_scale=GREEDY.guidance_scale)
    assert torch.equal(joint, melody_model.generate_codes([TEXTS[0]], 0.6, options=both, **arguments))
    other = dataclasses.replace(GREEDY, melody_guidance_scale=0.0)
    assert not torch.equal(joint, melody_model.generate_codes([TEXTS[0]], 0.6, options=other, **arguments))


def test_a_negative_prompt_takes_the_nulls_place(text_model: MusicGen) -> None:
    options = dataclasses.replace(GREEDY, negative_prompt=TEXTS[1], guidance_scale=2.0)
    codes = text_model.generate_codes([TEXTS[0]], 0.3, options=options)
    layout = text_model.pattern.layout(15)
    sequence = layout.build(codes, text_model.lm.config.special_token)
    rows = []
    for text in (TEXTS[0], TEXTS[1]):
        with torch.no_grad():
            rows.append(text_model.lm(sequence, text_model.fuser({"text": text_model.text([text])})))
    logits = rows[1] + 2.0 * (rows[0] - rows[1])
    assert torch.equal(layout.revert_logits(logits)[0].argmax(-1), codes)


def test_guidance_scale_1_is_the_conditional_model(text_model: MusicGen) -> None:
    options = dataclasses.replace(GREEDY, guidance_scale=1.0)
    codes = text_model.generate_codes([TEXTS[0]], 0.3, options=options)
    layout = text_model.pattern.layout(15)
    sequence = layout.build(codes, text_model.lm.config.special_token)
    with torch.no_grad():
        logits = text_model.lm(sequence, text_model.fuser({"text": text_model.text([TEXTS[0]])}))
    assert torch.equal(layout.revert_logits(logits)[0].argmax(-1), codes)


def test_unconditional_is_the_null_condition(text_model: MusicGen) -> None:
    """Without text there is nothing to guide towards: every scale gives the same."""
    without = [
        text_model.generate_codes([None], 0.4, options=dataclasses.replace(GREEDY, guidance_scale=scale))
        for scale in (1.0, 3.0)
    ]
    assert torch.equal(*without)
    assert torch.equal(without[0], text_model.generate_codes([""], 0.4, options=GREEDY))


def test_continuation_keeps_what_was_given(model: MusicGen) -> None:
    given = model.generate([TEXTS[0]], 0.4, seed=0, options=SAMPLED)[0]
    codes = model.generate_codes(TEXTS, 1.0, seed=1, continue_from=Audio(given, 32_000), options=SAMPLED)
    assert codes.shape[2] == 50
    encoded = model.tokenizer.encode(given[None])
    assert torch.equal(codes[:, :, :20], encoded.expand(2, -1, -1))
    # Another rate, mono or stereo: brought to the model's own.
    other = Audio(given.mean(0, keepdim=True), 32_000).resampled(44_100)
    assert model.generate(TEXTS, 1.0, seed=1, continue_from=other, options=SAMPLED).shape == (2, model.channels, 32_000)
    # The part of a frame at the end is dropped, not padded.
    ragged = Audio(torch.cat([given, given[:, :100]], dim=1), 32_000)
    again = model.generate_codes(TEXTS, 1.0, seed=1, continue_from=ragged, options=SAMPLED)
    assert torch.equal(again, codes)


@pytest.mark.parametrize("duration", [0.1, 0.12, 0.5, 0.66, 0.98, 1.0, 1.02, 1.7, 2.34, 3.0])
def test_every_duration_is_exact_windows_included(
    model: MusicGen, duration: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "max_duration", 0.64)
    steps: list[tuple[int, int]] = []
    wave = model.generate(
        [TEXTS[0]], duration, seed=0, melody=melody_for(model, "melody_a"), options=SAMPLED, separate=False,
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert wave.shape == (1, model.channels, round(duration * 32_000))
    assert wave.dtype == torch.float32
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total in steps} == {len(steps)}


def test_a_long_piece_goes_on_from_long_given_audio(text_model: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_model, "max_duration", 0.64)
    given = Audio(torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0)) * 0.1, 32_000)
    codes = text_model.generate_codes([TEXTS[0]], 2.0, seed=0, continue_from=given, options=SAMPLED)
    assert torch.equal(codes[:, :, :50], text_model.tokenizer.encode(given.wave[None]))
    assert codes.shape[2] == 100


def test_progress_can_stop_the_generation(text_model: MusicGen) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 7:
            raise Stop

    with pytest.raises(Stop):
        text_model.generate(TEXTS, 10.0, progress=stop)
    # and leaves the model as it was
    assert text_model.generate_codes(TEXTS, 0.2, seed=0).shape == (2, 4, 10)


def test_generation_changes_no_global_random_state(text_model: MusicGen) -> None:
    before = torch.get_rng_state()
    text_model.generate(TEXTS, 0.2, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_dac_model_generates(text_model: MusicGen, tmp_path: Path) -> None:
    """Nine codebooks at 86.13 Hz: durations come out to the nearest whole frame."""
    torch.manual_seed(0)
    shape = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "codebook_size": 32, "hidden_size": 64}
    dac = DacModel(DacConfig(**shape, sampling_rate=44_100)).eval()
    lm = LanguageModel(LMConfig(dim=64, num_heads=4, num_layers=1, num_codebooks=9, codebook_size=32)).eval()
    model = MusicGen(lm, patterns.delay(9), DacTokenizer(dac), {"text": text_model.text})
    assert model.sample_rate == 44_100
    assert model.frame_rate == pytest.approx(86.1328, abs=1e-4)
    assert frames_of(model.tokenizer, 1.0) == 86
    wave = model.generate(TEXTS, 0.5, seed=0)
    assert wave.shape == (2, 1, 43 * 512)
    given = torch.randn(1, 1, 44_100, generator=torch.Generator().manual_seed(0)) * 0.1
    codes = model.tokenizer.encode(given)
    padded = torch.nn.functional.pad(given, (0, -44_100 % 512))
    with torch.no_grad():
        assert torch.equal(codes, dac.encode(padded).audio_codes)
        expected = dac.decode(audio_codes=codes).audio_values
    decoded = model.tokenizer.decode(codes)
    assert decoded.shape == (1, 1, codes.shape[2] * 512)
    torch.testing.assert_close(decoded[:, 0, : expected.shape[1]], expected)
    musicgen.save(model, tmp_path / "dac")
    again = musicgen.load(tmp_path / "dac")
    torch.testing.assert_close(again.generate(TEXTS, 0.5, seed=0), wave)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": []}, "the list of prompts is empty"),
        ({"prompts": [3]}, "the prompt is 3: it must be text"),
        ({"duration": 0}, "duration is 0 s: it must be above 0 and at most 600 s"),
        ({"duration": 10_000}, "duration is 10000 s"),
        ({"duration": float("nan")}, "duration is nan"),
        ({"duration": "10"}, "duration is '10'"),
        ({"melody": str(GOLDEN / "chroma" / "melody_a.wav")}, "follows text only: a melody needs a melody model"),
        ({"continue_from": "no-such-file.wav"}, "no-such-file.wav: no such audio file"),
        ({"continue_from": [Audio(torch.zeros(1, 6400), 32_000)] * 3}, "3 clips to continue for 2 prompts"),
        ({"continue_from": Audio(torch.zeros(1, 64_000), 32_000)}, "is 2.00 s long and the result 1.00 s"),
        ({"continue_from": Audio(torch.zeros(1, 600), 32_000)}, "is 0.02 s long and the result 1.00 s"),
        ({"continue_from": Audio(torch.full((1, 6400), float("nan")), 32_000)}, "NaN or infinite"),
        (
            {"continue_from": [Audio(torch.zeros(1, 6400), 32_000), Audio(torch.zeros(1, 7040), 32_000)]},
            r"different lengths \(\[0.2, 0.22\] s\)",
        ),
    ],
)
def test_bad_input_is_named_before_the_first_step(text_model: MusicGen, arguments: dict, message: str) -> None:
    def unexpected(*_: int) -> None:
        raise AssertionError("a step was made")

    with pytest.raises(InputError, match=message):
        text_model.generate(**({"prompts": TEXTS, "duration": 1.0, "progress": unexpected} | arguments))


def test_melodies_must_fit_the_prompts(melody_model: MusicGen) -> None:
    with pytest.raises(InputError, match="3 values of the condition 'melody' for 2 prompts"):
        melody_model.generate(TEXTS, 1.0, melody=[None] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0: it must lie between 0.001 and 100"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale is inf"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1"),
        ({"melody_guidance_scale": float("nan")}, "melody_guidance_scale is nan"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"window_overlap": 1.0}, "window_overlap is 1"),
        ({"negative_prompt": 3}, "negative_prompt is 3"),
        ({"negative_prompt": "noise", "guidance_scale": 1.0}, "acts through guidance"),
    ],
)
def test_options_are_checked_once(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        musicgen.GenerationOptions(**options)
