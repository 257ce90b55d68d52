"""The open seams: a conditioner, a tokeniser and a back end that are defined here, outside the package, work everywhere."""

import json
import re
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import musicgen
from musicgen.__main__ import main
from musicgen.checkpoint.conditioners import others
from musicgen.conditioners import registry as conditioner_registry
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.engine import Scheduler
from musicgen.engine.backends.base import Backend
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.selection import accelerate, register_backend
from musicgen.errors import CheckpointError, InputError
from musicgen.guidance import GuidanceRow, Guided, guidance_rows
from musicgen.lm import Conditions
from musicgen.model import MusicGen
from musicgen.plugins import load_plugins
from musicgen.registry import KindRegistry
from musicgen.request import GenerationRequest
from musicgen.settings import Settings, SourceFile
from musicgen.tokenizers import StereoTokenizer, Tokenizer
from musicgen.tokenizers import register as register_tokenizer
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.dataloader import Cropper
from musicgen.training.lm.initialization import with_conditioners
from musicgen.training.lm.network import Network
from musicgen.training.lm.shards import Sample
from tests.conftest import GOLDEN, TEXTS

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PYTHON_BLOCKS = re.compile(r"```python\n(.*?)```", re.DOTALL)
OPTIONS = musicgen.GenerationOptions(top_k=20)
MELODY = GOLDEN / "chroma" / "melody_a.wav"


@conditioner_registry.register("test_energy")
class Energy(Conditioner):
    """A number from 0 to 1 as one vector. A pair of numbers is the energy of even and of odd seconds."""

    max_length = 1

    def __init__(self, dim: int, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.projection = nn.Linear(1, dim)

    def prepare(self, value, **options):  # noqa: ARG002
        try:
            level = float(Path(value).read_text() if Path(str(value)).is_file() else value)
        except ValueError as error:
            raise InputError(f"the energy is {value!r}: it must be a number from 0 to 1") from error
        if not 0 <= level <= 1:
            raise InputError(f"the energy is {level:g}: it must lie between 0 and 1")
        return level

    def forward(self, prepared):
        levels = torch.tensor([[-1.0 if one is None else one] for one in prepared])
        values = self.gain * self.projection(levels.to(self.projection.weight))[:, None]
        return Condition(values, torch.ones(len(prepared), 1, dtype=torch.bool, device=values.device))

    def config(self):
        return {"gain": self.gain}


@register_tokenizer("test_steps")
class Steps(Tokenizer):
    """Constant samples for each frame: the sum of one entry of each codebook, found by greedy search."""

    channels = 1

    def __init__(self, num_codebooks: int, codebook_size: int) -> None:
        super().__init__()
        self.num_codebooks, self.codebook_size, self.sample_rate, self.hop = num_codebooks, codebook_size, 8_000, 160
        generator = torch.Generator().manual_seed(0)
        self.entries = nn.Parameter(torch.randn(num_codebooks, codebook_size, generator=generator) / 10)

    def config(self):
        return {**super().config(), "num_codebooks": self.num_codebooks, "codebook_size": self.codebook_size}

    def encode(self, wave):
        rest = torch.stack([part.mean(dim=-1) for part in wave[:, 0].split(self.hop, dim=-1)], dim=-1)
        codes = []
        for entries in self.entries:
            codes.append((rest[..., None] - entries).abs().argmin(dim=-1))
            rest = rest - entries[codes[-1]]
        return torch.stack(codes, dim=1)

    def decode(self, codes):
        levels = sum(entries[codes[:, k]] for k, entries in enumerate(self.entries))
        return levels.repeat_interleave(self.hop, dim=-1)[:, None]


@register_backend
class Counting(Backend):
    """Plain PyTorch for the models in `models`, counted."""

    name = "test_counting"
    models: ClassVar[weakref.WeakSet] = weakref.WeakSet()
    pools = 0
    bytes_per_row = 1

    def supports(self, rows):  # noqa: ARG002
        return self.lm in self.models

    def pool_bytes(self, rows, capacity, text_capacity):  # noqa: ARG002
        return Counting.bytes_per_row * rows

    def pool(self, rows, capacity, text_capacity):
        Counting.pools += 1
        return TorchPool(self.lm, rows, capacity, text_capacity)


def energy(dim: int) -> Energy:
    made = Energy(dim, gain=2.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


@pytest.fixture(scope="module", params=["cross", "prefix", "sum", "melody"])
def model(request: pytest.FixtureRequest, audiocraft_folder) -> MusicGen:
    """A model with an energy: beside the text, in front of the steps (once between melody and text), or added to them."""
    base = musicgen.load(audiocraft_folder("melody" if request.param == "melody" else "text"))
    added = energy(base.lm.config.dim)
    if request.param == "melody":
        parts, fusions = {"melody": base.melody, "energy": added, "text": base.text}, None
    else:
        parts, fusions = {"text": base.text, "energy": added}, {"energy": request.param}
    made = MusicGen(base.lm, base.pattern, base.tokenizer, parts, fusions=fusions, max_duration=base.max_duration)
    accelerate(made)
    return made


@pytest.fixture(scope="module")
def folder(model: MusicGen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("saved") / "model"
    musicgen.save(model, saved)
    return saved


def test_a_new_conditioner_conditions(model: MusicGen) -> None:
    low, high, none = (
        model.generate_codes(TEXTS[0], 0.5, seed=3, options=OPTIONS, conditions={"energy": value})
        for value in (0.0, 1.0, None)
    )
    assert not torch.equal(low, high)
    assert not torch.equal(low, none)
    assert torch.equal(none, model.generate_codes(TEXTS[0], 0.5, seed=3, options=OPTIONS))


def test_a_new_condition_is_guided_by_a_scale_of_its_own(model: MusicGen) -> None:
    codes = {}
    for scale in (None, 0.0, 6.0):
        options = {"top_k": 20} if scale is None else {"top_k": 20, "condition_guidance": {"energy": scale}}
        codes[scale] = model.generate_codes(TEXTS[0], 0.5, seed=3, options=options, conditions={"energy": 1.0})
    assert not torch.equal(codes[0.0], codes[6.0])
    assert not torch.equal(codes[None], codes[6.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "condition_guidance is 5: it must be a scale for each name"),
        ({"melody": 1.0}, "condition_guidance names the melody: its scale is melody_guidance_scale"),
        ({"energy": -1}, "the guidance of energy is -1: it must lie between 0 and 100"),
        ({"energy": "much"}, "the guidance of energy is 'much': it must be a finite number"),
        ({3: 1.0}, "a condition's name is 3: it must be text"),
    ],
)
def test_guidance_that_cannot_be(given: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        musicgen.GenerationOptions(condition_guidance=given)


def test_a_clip_with_a_new_condition_does_not_depend_on_its_batch(model: MusicGen) -> None:
    levels = [0.1, None, 0.9]
    prompts = [TEXTS[0], TEXTS[1], None]
    together = model.generate_codes(prompts, 0.5, seed=3, options=OPTIONS, conditions={"energy": levels})
    for i, (prompt, level) in enumerate(zip(prompts, levels, strict=True)):
        alone = model.generate_codes(prompt, 0.5, seed=3 + i, options=OPTIONS, conditions={"energy": level})
        assert torch.equal(together[i : i + 1], alone)


def test_a_new_condition_in_the_scheduler(model: MusicGen) -> None:
    requests = [
        GenerationRequest.of(prompt, 0.5, seed=seed, options=OPTIONS, conditions={"energy": level})
        for seed, (prompt, level) in enumerate([(TEXTS[0], 0.2), (TEXTS[1], 0.8), ("", None)])
    ]
    with Scheduler(model, slots=3) as scheduler:
        handles = [scheduler.submit(request) for request in requests]
        for request, handle in zip(requests, handles, strict=True):
            torch.testing.assert_close(handle.result(), model.generate(request)[0], atol=1e-5, rtol=0)


def test_a_new_conditioner_is_saved_and_loaded(model: MusicGen, folder: Path) -> None:
    again = musicgen.load(folder)
    assert list(again.conditioners) == list(model.conditioners)
    assert again.fuser.fusions == model.fuser.fusions
    assert isinstance(again.conditioners["energy"], Energy)
    codes = [
        one.generate_codes(TEXTS, 0.5, seed=3, options=OPTIONS, conditions={"energy": [0.3, 0.7]})
        for one in (model, again)
    ]
    assert torch.equal(*codes)


def test_the_command_line_has_new_conditions(model: MusicGen, folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "level.txt").write_text("0.25")
    shared = ["generate", TEXTS[0], "--model", str(folder), "--duration", "0.5", "--seed", "3", "--top-k", "20"]
    clips = [tmp_path / f"{name}.wav" for name in ("text", "file", "again")]
    shared += ["--condition-guidance", "energy=2"]
    assert main([*shared, "--condition", "energy=0.25", "--output", str(clips[0])]) == 0
    assert main([*shared, "--condition", f"energy={tmp_path / 'level.txt'}", "--output", str(clips[1])]) == 0
    repeated = ["generate", "--from-file", str(clips[0]), "--model", str(folder), "--output", str(clips[2])]
    assert main([*repeated, "--condition", "energy=0.25"]) == 0
    settings = [Settings.of_file(clip) for clip in clips]
    assert settings[0].conditions == settings[2].conditions == {"energy": "0.25"}
    assert settings[1].conditions == {"energy": SourceFile.of(tmp_path / "level.txt")}
    waves = [musicgen.audio.read(clip).wave for clip in clips]
    assert torch.equal(waves[0], waves[1])
    assert torch.equal(waves[0], waves[2])
    expected = model.generate(TEXTS[0], 0.5, seed=3, options=OPTIONS, conditions={"energy": 0.25})[0]
    assert waves[0].shape == expected.shape

    for arguments, message in [
        (["--condition", "energy"], "--condition 'energy': it must be NAME=VALUE"),
        (["--condition", "energy=0", "--condition", "energy=1"], "--condition 'energy' is given twice: '0' and '1'"),
        (["--condition", "melody=a.wav"], "--condition 'melody' is given by --melody"),
        (["--condition", "energy=loud"], "the energy is 'loud': it must be a number from 0 to 1"),
        (["--condition", "mood=1"], "only: it has no condition 'mood'"),
    ]:
        capsys.readouterr()
        assert main([*shared, *arguments, "--output", str(tmp_path / "no.wav")]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    assert main(["generate", "--from-file", str(clips[1]), "--model", str(folder)]) == 2
    assert "made with the file 'level.txt': pass it again as --condition energy=FILE" in capsys.readouterr().err


def test_a_strangers_clip_names_no_file_that_is_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0.25").write_text("0.75")  # what is here under the name that the clip says
    read: list[str] = []
    prepare = Energy.prepare
    monkeypatch.setattr(Energy, "prepare", lambda self, value, **_: read.append(value) or prepare(self, value))
    settings = Settings("0", "mini", TEXTS[0], 0.5, 3, conditions={"energy": "0.25"}, options=OPTIONS)
    musicgen.audio.write("clip.wav", musicgen.Audio(torch.zeros(1, 16_000), 32_000), settings.comment())
    shared = ["--model", str(folder), "--output", "out.wav"]
    said = (
        "its condition 'energy' was '0.25', which this model may take for a file of this machine: pass it yourself as "
    )
    for command in (["generate", "--from-file", "clip.wav"], ["repaint", "clip.wav", "--span", "0.1:0.3"]):
        assert main([*command, *shared]) == 2
        assert f"{said}--condition energy=VALUE" in capsys.readouterr().err
    with pytest.raises(InputError, match=re.escape(said + "conditions={'energy': …}")):
        musicgen.repaint_clip(musicgen.load(folder), "clip.wav", 0.1, 0.3)
    assert read == []

    # A conditioner that reads every text as a value gets it, and the file of that name is not looked at either.
    monkeypatch.setattr(Energy, "from_text", True)
    monkeypatch.setattr(Energy, "prepare", lambda self, value, **_: float(value))  # noqa: ARG005
    assert main(["generate", "--from-file", "clip.wav", *shared]) == 0
    assert Settings.of_file("out.wav").conditions == {"energy": "0.25"}


@pytest.mark.parametrize(("name", "flag"), [("style", "--style"), ("melody", "--melody")])
def test_a_strangers_path_of_a_recording_is_asked_for(
    name: str, flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song, clip = tmp_path / "song.wav", tmp_path / "clip.wav"
    settings = Settings("0", "mini", "x", 0.5, 3, conditions={name: str(song)})
    for path, comment in ((song, ""), (clip, settings.comment())):
        musicgen.audio.write(path, musicgen.Audio(torch.rand(1, 64_000), 32_000), comment)
    assert main(["generate", "--from-file", str(clip), "-o", str(tmp_path / "out.wav")]) == 2
    assert f"made with the file '{song}': pass it again as {flag} FILE" in capsys.readouterr().err


def test_the_documented_conditioner_is_a_plugin_of_the_command_line(audiocraft_folder, tmp_path: Path) -> None:
    code = next(block for block in PYTHON_BLOCKS.findall(ARCHITECTURE.read_text()) if "class Energy" in block)
    plugin = tmp_path / "energy.py"
    plugin.write_text(code)
    load_plugins([str(plugin)])
    base = musicgen.load(audiocraft_folder("text"))
    documented = conditioner_registry.build("energy", {}, base.lm.config.dim, "here")
    made = MusicGen(base.lm, base.pattern, base.tokenizer, {"text": base.text, "energy": documented})
    musicgen.save(made, tmp_path / "model")

    # In a process that has not imported the class.
    clip = tmp_path / "clip.wav"
    command = [
        sys.executable,
        "-m",
        "musicgen",
        "generate",
        TEXTS[0],
        "--model",
        str(tmp_path / "model"),
        "--seed",
        "3",
    ]
    command += ["--duration", "0.5", "--no-loudness", "--condition", "energy=0.5", "--output", str(clip)]
    ran = subprocess.run([*command, "--plugin", str(plugin)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    expected = made.generate(TEXTS[0], 0.5, seed=3, conditions={"energy": 0.5})[0]
    torch.testing.assert_close(musicgen.audio.read(clip).wave, expected.clamp(-1, 1), atol=2e-4, rtol=0)
    with pytest.raises(CheckpointError, match="'no_such_kind'") as caught:
        conditioner_registry.build("no_such_kind", {}, 8, "model")
    assert "--plugin MODULE" in caught.value.told("shell")


def test_unknown_names_are_one_line(model: MusicGen, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only: it has no condition 'mood'"):
        model.generate(TEXTS[0], 0.5, conditions={"mood": 1})
    with pytest.raises(InputError, match="the energy is 2: it must lie between 0 and 1"):
        model.generate(TEXTS[0], 0.5, conditions={"energy": 2})
    with pytest.raises(InputError, match="3 values of the condition 'energy' for 2 prompts"):
        model.generate(TEXTS, 0.5, conditions={"energy": [0.1] * 3})
    with pytest.raises(InputError, match="'text' is given by the prompts"):
        model.generate(TEXTS, 0.5, conditions={"text": "x"})
    with pytest.raises(TypeError, match=r"unknown arguments .'tempo'.: a request takes"):
        model.generate(TEXTS, 0.5, tempo=3)
    with pytest.raises(
        CheckpointError, match="'energy' is fused by 'mix', which is not supported: one of cross, prefix"
    ):
        MusicGen(model.lm, model.pattern, model.tokenizer, {"energy": energy(64)}, fusions={"energy": "mix"})
    with pytest.raises(CheckpointError, match="'text' of up to 512 vectors is fused by 'sum', which takes one"):
        MusicGen(model.lm, model.pattern, model.tokenizer, {**model.named_conditioners}, fusions={"text": "sum"})
    with pytest.raises(
        CheckpointError, match="audiocraft's layout is written for text, with melody or style: this model is"
    ):
        musicgen.save(model, tmp_path / "audiocraft", "audiocraft")

    config = json.loads((folder / "config.json").read_text())

    def load_changed(**changes: object) -> None:
        changed = tmp_path / "changed"
        changed.mkdir(exist_ok=True)
        for file in folder.iterdir():
            (changed / file.name).unlink(missing_ok=True)
            (changed / file.name).symlink_to(file)
        (changed / "config.json").unlink()
        (changed / "config.json").write_text(json.dumps(config | changes))
        musicgen.load(changed)

    ours = config["musicgen"]
    with pytest.raises(
        CheckpointError, match=r"\(condition 'energy'\): the conditioner is of the kind 'mood': .*test_energy"
    ):
        load_changed(musicgen=ours | {"conditioners": {"energy": {"kind": "mood", "config": {}}}})
    with pytest.raises(CheckpointError, match=r"the configuration fuses the conditions .*, and has "):
        load_changed(musicgen=ours | {"fusions": [["text", "cross"]]})
    with pytest.raises(CheckpointError, match="energy has no kind and config"):
        load_changed(musicgen=ours | {"conditioners": {"energy": "x"}})
    with pytest.raises(
        CheckpointError, match=r"the audio encoder is of the kind 'tape': the registered kinds are .*encodec"
    ):
        load_changed(audio_encoder=config["audio_encoder"] | {"model_type": "tape"})


def test_models_like_the_published_ones_are_stored_as_before(audiocraft_folder, tmp_path: Path) -> None:
    for kind in ("text", "melody"):
        musicgen.save(musicgen.load(audiocraft_folder(kind)), tmp_path / kind)
        assert set(json.loads((tmp_path / kind / "config.json").read_text())["musicgen"]) == {"pattern", "max_duration"}


def test_a_new_conditioner_is_trained(audiocraft_folder) -> None:
    new = {"kind": "test_energy", "config": {"gain": 2.0}, "metadata": "loudness", "dropout": 0.5}
    values = {"data": {"path": "x", "seconds": 0.5, "lanes": 1}, "optimisation": {"batch": 8}}
    recipe = LMRecipe.from_dict(values | {"conditioners": {"energy": new}})
    base = musicgen.load(audiocraft_folder("text"), "cpu")
    made = with_conditioners(base, recipe)
    assert made.fuser.fusions == {"energy": "prefix", "text": "cross"}
    cropper = Cropper(recipe, Fraction(50), 0.5, 0, others(made))
    codes = torch.randint(base.lm.config.codebook_size, (4, 60), generator=torch.Generator().manual_seed(0)).numpy()
    sample = Sample(codes, None, {"description": "x", "loudness": 0.5})
    batch = cropper.batch([cropper.training(sample, np.random.default_rng(i)) for i in range(8)])
    assert set(batch.conditions["energy"]) == {0.5, None}
    network = Network(made, train_text=False)
    network.conditioners.requires_grad_(True)
    losses = torch.stack([network(network.inputs(part, 64)).codes.sum() for part in batch.split(4)])
    losses.sum().backward()
    assert all(parameter.grad.any() for parameter in network.conditioners.parameters())

    with pytest.raises(InputError, match=r"conditioners\.energy: the model has a conditioner of this name already"):
        with_conditioners(made, recipe)
    unknown = LMRecipe.from_dict(values | {"conditioners": {"mood": {"kind": "mood"}}})
    with pytest.raises(CheckpointError, match=r"conditioners\.mood: the conditioner is of the kind 'mood'"):
        with_conditioners(base, unknown)


@pytest.mark.parametrize("kind", ["text", "stereo"])
def test_a_new_tokeniser(audiocraft_folder, tmp_path: Path, kind: str) -> None:
    base = musicgen.load(audiocraft_folder(kind))
    mono = Steps(base.tokenizer.sides[0].num_codebooks, base.tokenizer.codebook_size)
    tokenizer = StereoTokenizer(mono) if kind == "stereo" else mono
    made = MusicGen(base.lm, base.pattern, tokenizer, base.named_conditioners, max_duration=base.max_duration)
    accelerate(made)
    wave = made.generate(TEXTS[0], 0.5, seed=3, options=OPTIONS)
    assert wave.shape == (1, made.channels, 25 * 160)
    parts = list(made.stream(TEXTS[0], 0.5, seed=3, options=OPTIONS, chunk=0.1))
    assert torch.equal(torch.cat(parts, dim=1), wave[0])
    with Scheduler(made, slots=2) as scheduler:
        torch.testing.assert_close(scheduler.submit(TEXTS[0], 0.5, seed=3, options=OPTIONS).result(), wave[0])
    longer = made.generate_codes(TEXTS[0], 1.0, seed=3, options=OPTIONS, continue_from=(wave[0], 8_000))
    assert torch.equal(longer[:, :, :25], tokenizer.encode(wave))

    musicgen.save(made, tmp_path / "model")
    again = musicgen.load(tmp_path / "model")
    assert type(again.tokenizer) is type(tokenizer)
    assert torch.equal(again.generate(TEXTS[0], 0.5, seed=3, options=OPTIONS), wave)


def test_a_new_back_end(audiocraft_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    made = musicgen.load(audiocraft_folder("text"))
    without = made.generate_codes(TEXTS[0], 0.5, seed=3, options=OPTIONS)
    before = Counting.pools
    Counting.models.add(made.lm)
    assert torch.equal(made.generate_codes(TEXTS[0], 0.5, seed=3, options=OPTIONS), without)
    with Scheduler(made, slots=2) as scheduler:
        scheduler.submit(TEXTS[0], 0.2).result()
    assert Counting.pools == before + 2
    monkeypatch.setattr(Counting, "bytes_per_row", 1 << 60)
    with pytest.raises(InputError, match=r"2 slots need .* GB for keys and values"):
        Scheduler(made, slots=2)
    assert Counting.pools == before + 2


def test_guidance_rows_mix_by_the_papers_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    both, melody, null = (torch.randn(2, 4, 50, generator=generator) for _ in range(3))

    def mixed(options: musicgen.GenerationOptions, names: list[str], *values: torch.Tensor) -> torch.Tensor:
        return Guided(Conditions(), guidance_rows(options, names), {}).mix(torch.cat(values))

    plain = musicgen.GenerationOptions(guidance_scale=1.0)
    assert torch.equal(mixed(plain, ["text"], both), both)
    joint = musicgen.GenerationOptions(guidance_scale=3.1)
    assert torch.equal(mixed(joint, ["melody", "text", "energy"], both, null), null + 3.1 * (both - null))
    separate = musicgen.GenerationOptions(guidance_scale=3.1, melody_guidance_scale=1.7)
    expected = null + 1.7 * (melody - null) + 3.1 * (both - melody)
    assert torch.equal(mixed(separate, ["melody", "text"], both, melody, null), expected)
    assert torch.equal(mixed(separate, ["text"], both, null), null + 3.1 * (both - null))  # no melody to scale
    own = musicgen.GenerationOptions(guidance_scale=3.1, condition_guidance={"energy": 1.7})
    assert torch.equal(mixed(own, ["energy", "text"], both, melody, null), expected)
    with pytest.raises(InputError, match="names 'energy', a condition that the model does not have"):
        guidance_rows(own, ["text"])
    several = musicgen.GenerationOptions(melody_guidance_scale=2.0, condition_guidance={"energy": 1.7})
    with pytest.raises(InputError, match="melody and energy have guidance scales of their own"):
        guidance_rows(several, ["melody", "text", "energy"])
    assert guidance_rows(separate, ["melody", "text"]) == (
        GuidanceRow(frozenset({"melody", "text"}), 3.1),
        GuidanceRow(frozenset({"melody"}), 1.7),
        GuidanceRow(frozenset()),
    )


def test_a_kind_is_registered_once() -> None:
    kinds: KindRegistry[type] = KindRegistry("conditioner", "no.such.group")
    first = kinds.register("x")(type("First", (), {}))
    assert kinds.of("x", "a checkpoint") is first
    again = kinds.register("x")(type("First", (), {}))  # the same module, imported anew
    assert kinds.of("x", "a checkpoint") is again
    with pytest.raises(InputError, match="there are two conditioners 'x': register yours under another name"):
        kinds.register("x")(type("Second", (), {}))
    assert kinds.of("x", "a checkpoint") is again
    for kind in ("y", None, ["x"]):
        with pytest.raises(
            CheckpointError, match=r"a checkpoint: the conditioner is of the kind .*: the registered kinds are x"
        ):
            kinds.of(kind, "a checkpoint")
