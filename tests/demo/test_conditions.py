"""What the page takes beside a description and a recorded melody: chords, MIDI files, a style, and further conditions."""

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from torch import nn

import musicgen
from demo.configuration import Configuration
from demo.service import Service
from musicgen import audio
from musicgen.chords import ChordChart
from musicgen.conditioners import registry
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.errors import InputError
from musicgen.limiter import reach_loudness
from musicgen.model import MusicGen
from musicgen.options import GenerationOptions
from musicgen.serving import capabilities, clip_metadata, generation
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest, parse_conditions, validate
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN
from tests.demo.conftest import serving, write_midi
from tests.test_multiband import publish

MERT = "m-a-p/MERT-v1-95M"


@registry.register("test_brightness")
class Brightness(Conditioner):
    """A number as one vector. `Secret` is the same where the page must not know that."""

    max_length = 1
    from_text = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(1, dim)

    def prepare(self, value, **options):  # noqa: ARG002
        return float(value)

    def forward(self, prepared):
        levels = torch.tensor([[-1.0 if one is None else one] for one in prepared])
        return Condition(self.projection(levels)[:, None], torch.ones(len(prepared), 1, dtype=torch.bool))


@registry.register("test_secret")
class Secret(Brightness):
    from_text = False


@pytest.fixture(scope="module")
def models(hub_cache: Path, audiocraft_folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's folder: a model with two further conditioners, a melody model, and one that follows a style."""
    folder = tmp_path_factory.mktemp("models")
    base = musicgen.load(audiocraft_folder("text"), precision="float32")
    torch.manual_seed(1)
    added = {"brightness": Brightness(base.lm.config.dim), "secret": Secret(base.lm.config.dim)}
    bright = MusicGen(
        base.lm, base.pattern, base.tokenizer, {"text": base.text} | added, max_duration=base.max_duration
    )
    musicgen.save(bright, folder / "bright")
    musicgen.save(musicgen.load(audiocraft_folder("melody"), precision="float32"), folder / "melody")
    standins.publish(hub_cache, MERT, GOLDEN / "style" / "mert")
    style = audiocraft_folder("text")
    shutil.copy(GOLDEN / "style" / "state_dict.bin", style)
    musicgen.save(musicgen.load(style, precision="float32"), folder / "style")
    return folder


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(Configuration(model_folder=models), tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def address(service: Service):
    with serving(service) as url:
        yield url


def ask(client: Client, model: str, **values):
    named = {"prompt": "drums", "model": model, "duration": 1.0, "seed": 3, "precision": "float32"} | values
    return client.predict(**named, api_name="/generate")


def same(file: str, models: Path, model: str, **values) -> bool:
    """Whether a clip is the one that the library makes."""
    loaded = musicgen.load(models / model, precision="float32")
    wave = loaded.generate(["drums"], 1.0, seed=3, **values)[0]
    expected = reach_loudness(audio.Audio(wave, loaded.sample_rate), -14.0).audio.wave
    return bool((audio.read(file).wave - expected).abs().max() < 2 / 32_768)


def test_the_catalog_tells_what_models_follow(models: Path) -> None:
    catalog = ModelCatalog(models)
    found = {name: catalog.get(f"{models.name}/{name}") for name in ("bright", "melody", "style")}
    assert found["bright"].conditions == ("brightness", "secret")
    assert found["bright"].takes_conditions
    assert (found["bright"].melody, found["melody"].melody, found["style"].melody) == (False, True, False)
    assert (found["bright"].style, found["style"].style) == (False, True)
    assert "text + style" in found["style"].label
    assert catalog.get("facebook/musicgen-style").style is True
    assert "text → sounds" in catalog.get("facebook/audiogen-medium").label


def test_chords_are_followed_and_come_back(client: Client, models: Path) -> None:
    name = f"{models.name}/melody"
    file, _, about = ask(client, name, chords="C G,E7", bpm=240, metre="3/4")
    assert same(file, models, "melody", chords="C G,E7", bpm=240, metre="3/4")
    assert Settings.of_file(file).chords == ChordChart("C G,E7", 240, "3/4")
    restored = client.predict(handle_file(file), api_name="/settings")
    assert restored["chords"] == {"chords": "C G,E7", "bpm": 240.0, "metre": "3/4"}
    link, needed = clip_metadata.read_link(about["link"])
    assert (link.chords, needed) == (ChordChart("C G,E7", 240, "3/4"), {})


def test_a_midi_file_is_followed_and_needed_again(client: Client, models: Path, tmp_path: Path) -> None:
    tune = write_midi(tmp_path / "tune.mid", 60, 64, 67)
    file, _, about = ask(client, f"{models.name}/melody", melody=handle_file(str(tune)))
    assert same(file, models, "melody", melody=str(tune))
    assert client.predict(handle_file(file), api_name="/settings")["needs"] == ["tune.mid"]
    assert clip_metadata.read_link(about["link"])[1] == {"melody": "tune.mid"}
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"MThd")
    with pytest.raises(AppError, match=r"^broken\.mid: not a readable MIDI file") as error:
        ask(client, f"{models.name}/melody", melody=handle_file(str(broken)))
    assert "/" not in str(error.value)


def test_a_style_is_followed_and_needed_again(client: Client, models: Path, tmp_path: Path) -> None:
    sung = tmp_path / "song.wav"
    soundfile.write(sung, torch.randn(64_000, generator=torch.Generator().manual_seed(2)).mul(0.1).numpy(), 32_000)
    file, _, about = ask(client, f"{models.name}/style", style=handle_file(str(sung)), style_codebooks=2)
    assert same(file, models, "style", style=str(sung), options={"style_codebooks": 2})
    assert Settings.of_file(file).conditions["style"].name == "song.wav"
    assert client.predict(handle_file(file), api_name="/settings")["needs"] == ["song.wav"]
    assert clip_metadata.read_link(about["link"])[1] == {"style": "song.wav"}
    with pytest.raises(AppError, match="mini follows no style: choose a model that does"):
        ask(client, "mini", style=handle_file(str(sung)))


def test_further_conditions_are_followed_and_come_back(client: Client, models: Path) -> None:
    name = f"{models.name}/bright"
    file, _, about = ask(client, name, conditions=["brightness=0.5"])
    assert same(file, models, "bright", conditions={"brightness": "0.5"})
    assert not same(file, models, "bright")
    assert client.predict(handle_file(file), api_name="/settings")["conditions"] == ["brightness=0.5"]
    assert clip_metadata.read_link(about["link"])[0].conditions == (("brightness", "0.5"),)


def test_another_decoder(
    client: Client, service: Service, models: Path, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "downloads", False)
    with pytest.raises(AppError, match="multi-band diffusion is not on this machine, and visitors may not start"):
        ask(client, f"{models.name}/bright", decoder="mbd")
    publish(hub_cache, tmp_path / "mbd")
    file, _, about = ask(client, f"{models.name}/bright", decoder="mbd", duration=0.5)
    loaded = musicgen.load(models / "bright", precision="float32", decoder="mbd")
    wave = loaded.generate(["drums"], 0.5, seed=3)[0]
    expected = reach_loudness(audio.Audio(wave, loaded.sample_rate), -14.0).audio.wave
    assert (audio.read(file).wave - expected).abs().max() < 2 / 32_768
    assert client.predict(handle_file(file), api_name="/settings")["decoder"] == "mbd"
    assert clip_metadata.read_link(about["link"])[0].decoder == "mbd"
    with pytest.raises(AppError, match="unknown decoder 'vocoder': one of codec, mbd"):
        ask(client, f"{models.name}/bright", decoder="vocoder")


def test_no_condition_is_taken_for_a_path_of_the_server(client: Client, models: Path) -> None:
    """A conditioner whose text may be a path gets none from a visitor."""
    with pytest.raises(AppError, match=r"the condition 'secret' of .* is not given as text"):
        ask(client, f"{models.name}/bright", conditions=["secret=/etc/passwd"])
    for name in ("style", "melody", "text"):
        with pytest.raises(AppError, match=f"the condition '{name}' has an input of its own"):
            ask(client, f"{models.name}/style", conditions=[f"{name}=/etc/passwd"])


def test_a_model_in_another_layout_is_asked_when_it_is_loaded(models: Path) -> None:
    """What its catalog entry does not tell is refused all the same."""
    request = ClipRequest("x", "somebody/model", conditions=(("brightness", "1"),))
    with pytest.raises(InputError, match="somebody/model follows no condition 'brightness'"):
        generation.check_conditions({}, request)
    assert musicgen.load(models / "bright").named_conditioners["brightness"].from_text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["energy"], "the condition 'energy': it must be NAME=VALUE, such as energy=0.5"),
        (["=1"], "it must be NAME=VALUE"),
        (["a=1", "a=2"], "the condition 'a' is given twice: '1' and '2'"),
        (["style=x"], "has an input of its own"),
        ([5], "is no text"),
    ],
)
def test_conditions_that_cannot_be_read(lines: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_conditions(lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chords": ChordChart("C"), "frames": (1,)}, "the melody is given twice, as a tune and as chords"),
        ({"model": "mini", "chords": ChordChart("C")}, "mini follows no chords: choose a melody model"),
        ({"model": "mini", "melody": Path("x.mid")}, "mini follows no melody"),
        ({"conditions": (("energy", "1"),)}, "follows no condition 'energy': it has no further conditions"),
        ({"model": "facebook/musicgen-style", "conditions": (("x", "1"),)}, "follows no condition 'x'"),
        ({"model": "facebook/magnet-small-10secs", "duration": 11.0}, "makes 10 s at most, in one piece"),
    ],
)
def test_what_a_model_does_not_follow_is_said_before_it_is_loaded(changes: dict, message: str) -> None:
    request = ClipRequest(**({"prompt": "x", "model": "mini-melody", "options": GenerationOptions()} | changes))
    models = ModelCatalog()

    def check() -> None:
        validate(request, Configuration().limits, models)
        capabilities.check(request, models.get(request.model))

    with pytest.raises(InputError, match=message):
        check()
