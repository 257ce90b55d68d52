"""Language models, tokeniser and generation against the reference implementation's numbers, from its own files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import musicgen
from musicgen.checkpoint.tokenizers import save_tokenizer
from musicgen.conditioners.condition import Condition
from musicgen.model import MusicGen
from tests.conftest import GOLDEN, TEXTS

KINDS = ["text", "melody", "stereo"]
GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, audiocraft_folder) -> tuple[MusicGen, dict[str, torch.Tensor], str]:
    """A golden model, its numbers, its kind. The references leave the padding of mixed-length batches in attention."""
    model = musicgen.load(audiocraft_folder(request.param))
    model.text.mask_padding = False
    return model, load_file(GOLDEN / f"lm_{request.param}" / "golden.safetensors"), request.param


def melody_file() -> str:
    return str(GOLDEN / "chroma" / "melody_a.wav")


def test_t5_states_are_the_references(case) -> None:
    model, golden, kind = case
    if kind != "text":
        pytest.skip("stored for the text model only")
    ids, mask = model.text.tokens([*TEXTS, ""])
    states = model.text.hidden(ids, mask)
    real = golden["t5/attention_mask"].bool()
    assert torch.equal(mask[:2], real[:2])  # the third text is None: the reference hides even its end-of-text token
    torch.testing.assert_close(states[:2][real[:2]], golden["t5/last_hidden_state"][:2][real[:2]], atol=1e-5, rtol=0)
    condition = model.text([*TEXTS, None])
    torch.testing.assert_close(condition.values, golden["t5/projected_masked"], atol=1e-5, rtol=0)


def test_conditions_are_the_references(case) -> None:
    model, golden, kind = case
    description = model.text(TEXTS)
    torch.testing.assert_close(description.values, golden["batch2/description/cond"], atol=1e-5, rtol=0)
    if kind == "melody":
        melodies = [model.melody.prepare(melody_file(), separate=False), None]
        frames = model.melody.frames(melodies)
        assert torch.equal(frames, golden["chroma/batch2_chroma_onehot"])
        torch.testing.assert_close(
            model.melody.project(frames).values, golden["batch2/self_wav/cond"], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("batch", ["batch2", "batch1", "null_batch2"])
def test_logits_are_the_references(case, batch: str) -> None:
    model, golden, kind = case
    codes = golden[f"{batch}/pred/codes"].long()
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes, model.lm.config.special_token)
    assert torch.equal(sequence, golden[f"{batch}/pred/full/sequence"].long())

    values = golden[f"{batch}/description/cond"]
    text = Condition(values, torch.ones(values.shape[:2], dtype=torch.bool))
    named = {"text": text}
    if kind == "melody":
        stored = golden.get(f"{batch}/self_wav/cond")
        everywhere = torch.ones(len(codes), 235, dtype=torch.bool)
        named["melody"] = model.melody.null(len(codes)) if stored is None else Condition(stored, everywhere)
    conditions = model.fuser(named)
    with torch.no_grad():
        logits = model.lm(sequence, conditions)
    torch.testing.assert_close(logits, golden[f"{batch}/pred/full/sequence_logits"], atol=1e-4, rtol=0)
    for mode, length in (("full", layout.num_steps), ("valid", layout.num_valid_steps)):
        reverted, mask = layout.revert_logits(logits[:, :, :length])
        expected = golden[f"{batch}/pred/{mode}/logits"]
        torch.testing.assert_close(reverted, expected, atol=1e-4, rtol=0, equal_nan=True)
        assert torch.equal(mask.expand(len(codes), -1, -1), golden[f"{batch}/pred/{mode}/mask"])


@pytest.mark.parametrize("run", ["gen1", "gen2", "gen2_prompt7", "gen2_uncond", "gen2_text_only", "extend"])
def test_greedy_codes_are_the_references(case, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, golden, kind = case
    if f"{run}/codes" not in golden:
        pytest.skip("stored for the melody model only")
    prompts: list[str | None] = TEXTS[:1] if run == "gen1" else ([None, None] if run == "gen2_uncond" else list(TEXTS))
    arguments = {"options": GREEDY, "separate": False}
    if kind == "melody" and run in ("gen1", "gen2", "gen2_prompt7", "extend"):
        arguments["melody"] = [melody_file(), None][: len(prompts)]
    if run == "extend":
        monkeypatch.setattr(model, "max_duration", 0.64)
        arguments["options"] = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0, window_overlap=0.5)
    if run == "gen2_prompt7":
        # The prompt is codes: they stand in for what encoding the given audio would yield.
        given = golden["gen2_prompt7/codes"][:, :, :7].long()
        monkeypatch.setattr(model, "_continuation", lambda *_: given)
    codes = model.generate_codes(prompts, 1.12 if run == "extend" else 0.8, **arguments)
    assert torch.equal(codes, golden[f"{run}/codes"].long())


def test_waveform_is_the_references(case) -> None:
    model, golden, _ = case
    wave = model.decode(golden["gen2/codes"][:1].long())
    torch.testing.assert_close(wave, golden["e2e/wav_item0"], atol=1e-5, rtol=0)


def test_encodec_is_the_references(audiocraft_folder) -> None:
    golden = load_file(GOLDEN / "encodec" / "encodec.safetensors")
    tokenizer = musicgen.load(audiocraft_folder("text")).tokenizer
    codes = tokenizer.encode(golden["wav_in"])
    assert torch.equal(codes, golden["codes"].long())
    torch.testing.assert_close(tokenizer.decode(codes), golden["wav_out"], atol=1e-5, rtol=0)
    odd = tokenizer.encode(golden["wav_in"][..., :31643])
    assert torch.equal(odd, golden["codes_odd"].long())
    torch.testing.assert_close(tokenizer.decode(odd), golden["wav_out_odd"], atol=1e-5, rtol=0)
    waves = tokenizer.decode(golden["random_codes"].long())
    torch.testing.assert_close(waves, golden["random_codes_wav"], atol=1e-5, rtol=0)


def test_stereo_pair_is_the_references(audiocraft_folder) -> None:
    golden = load_file(GOLDEN / "encodec" / "encodec.safetensors")
    tokenizer = musicgen.load(audiocraft_folder("stereo")).tokenizer
    codes = tokenizer.encode(torch.cat([golden["wav_in"], golden["right_wav_in"]], dim=1))
    assert torch.equal(codes, golden["stereo_codes"].long())
    expected = torch.cat([golden["wav_out"], golden["right_wav_out"]], dim=1)
    torch.testing.assert_close(tokenizer.decode(codes), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_export_to_audiocraft_has_the_references_tensors(kind: str, audiocraft_folder, tmp_path: Path) -> None:
    original = musicgen.load(audiocraft_folder(kind))
    musicgen.save(original, tmp_path / "out", layout="audiocraft")
    state = torch.load(tmp_path / "out" / "state_dict.bin", weights_only=True)["best_state"]
    expected = json.loads((GOLDEN / f"lm_{kind}" / "state_dict_keys.json").read_text())
    expected = {name: shape for name, (shape, _) in expected.items() if not name.endswith("spec.window")}
    assert {name: list(tensor.shape) for name, tensor in state.items()} == expected
    encodec = torch.load(tmp_path / "out" / "compression_state_dict.bin", weights_only=True)["best_state"]
    expected = json.loads((GOLDEN / "encodec" / "state_dict_keys.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in encodec.items()} == {n: s for n, (s, _) in expected.items()}

    again = musicgen.load(tmp_path / "out")
    assert again.pattern == original.pattern
    mine, theirs = again.state_dict(), original.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("name", ["facebook/encodec_32khz", "//pretrained/facebook/encodec_32khz"])
def test_pointer_to_a_published_tokeniser(name: str, hub_cache, audiocraft_folder, tmp_path: Path) -> None:
    """`compression_state_dict.bin` of the newer checkpoints only names a model on the hub."""
    from tests import standins

    full = musicgen.load(audiocraft_folder("text"))
    save_tokenizer(full.tokenizer, tmp_path / "encodec")
    standins.publish(hub_cache, "facebook/encodec_32khz", tmp_path / "encodec")
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(GOLDEN / "lm_text" / "state_dict.bin", folder)
    torch.save({"pretrained": name}, folder / "compression_state_dict.bin")
    model = musicgen.load(folder)
    golden = load_file(GOLDEN / "encodec" / "encodec.safetensors")
    assert torch.equal(model.tokenizer.encode(golden["wav_in"]), golden["codes"].long())
