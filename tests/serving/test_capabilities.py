"""Requests that cannot be generated are refused before they are queued, as the model itself would refuse them."""

import json
import shutil
from pathlib import Path

import httpx
import mido
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen import catalog
from musicgen.cancellation import Cancellation
from musicgen.chords import ChordChart
from musicgen.errors import InputError, MusicGenError
from musicgen.generators import MaskedGenerator
from musicgen.options import GenerationOptions
from musicgen.serving import capabilities
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from musicgen.serving.service import GenerationService
from musicgen.timeline import TimelineEntry
from tests.conftest import GOLDEN
from tests.serving.api_server import api
from tests.test_adapters import adapter

TUNE = GOLDEN / "chroma" / "melody_a.wav"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that fits mini, one of a wider model, one of a model with more layers, one that is damaged."""
    folder = tmp_path_factory.mktemp("adapters")
    adapter(catalog.PRETRAINED / "mini", "text", folder / "fits", 1, ["q_proj", "v_proj"])
    tensors = load_file(folder / "fits" / "adapter_model.safetensors")
    wider = {name: torch.cat([one, one], dim=1) if "lora_A" in name else one for name, one in tensors.items()}
    deeper = {name.replace("layers.0.", "layers.40."): one for name, one in tensors.items()}
    damaged = {name: one * float("nan") for name, one in tensors.items()}
    for name, values in (("wider", wider), ("deeper", deeper), ("damaged", damaged)):
        shutil.copytree(folder / "fits", folder / name)
        save_file(values, folder / name / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def service(adapters: Path, tmp_path_factory: pytest.TempPathFactory):
    engine = LocalEngine(ModelCatalog(adapter_folder=adapters), "cpu")
    made = GenerationService(engine, Limits(), ClipStore(tmp_path_factory.mktemp("clips"), 1.0), workers=1)
    yield made
    made.close()


REFUSED = {
    "condition_guidance": (
        {"options": GenerationOptions(condition_guidance={"energy": 2.0})},  # type: ignore[arg-type]
        "condition_guidance names 'energy', a condition that the model does not have",
    ),
    "two scales": (
        {
            "model": "mini-melody",
            "options": GenerationOptions(melody_guidance_scale=2.0, condition_guidance=(("text", 2.0),)),
        },
        "melody and text have guidance scales of their own: one condition of a model can have one",
    ),
    "passes": ({"options": GenerationOptions(decoding_steps=(1, 1, 1, 1))}, "decoding_steps is (1, 1, 1, 1): this model gener"),
    "condition": ({"conditions": (("energy", "1"),)}, "mini follows no condition 'energy'"),
    "melody": ({"frames": (0, 4)}, "mini follows no melody"),
    "chords": ({"chords": ChordChart("C G")}, "mini follows no chords"),
    "style": ({"style": TUNE}, "mini follows no style"),
    "decoder": ({"decoder": "mbd"}, "multi-band diffusion is not on this machine, and nothing is downloaded here"),
    "precision": ({"precision": "float16"}, "precision 'float16' is not available on cpu"),
    "tokens": ({"prompt": "é" * 400}, "tokens: 256 at most, shorten it"),
    "negative tokens": (
        {"options": GenerationOptions(negative_prompt="a" * 400)}, "tokens: 256 at most, shorten it"
    ),
    "wider": ({"adapters": (("wider", 1.0),)}, "wider: an adapter of another model, trained on"),
    "deeper": ({"adapters": (("fits", 1.0), ("deeper", 1.0))}, "deeper: an adapter of another model"),
    "damaged": ({"adapters": (("damaged", 1.0),)}, "holds NaN or infinite values"),
    "not here": ({"model": "facebook/musicgen-large"}, "facebook/musicgen-large is not on this machine, and nothing is downl"),
    "not here either": ({"model": "facebook/magnet-small-10secs"}, "facebook/magnet-small-10secs is not on this machine"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_model_would_refuse_is_refused_before(service: GenerationService, name: str) -> None:
    values, message = REFUSED[name]
    request = ClipRequest(**({"prompt": "x", "model": "mini", "duration": 1.0} | values))  # type: ignore[arg-type]
    with pytest.raises(InputError) as told:
        service.check("me", request)
    text = told.value.told("page")
    assert message in text
    assert str(Path.cwd()) not in text
    with pytest.raises((MusicGenError, OSError)):
        list(service.engine.stream(request, 1, lambda *_: None, Cancellation()))


@pytest.mark.parametrize(
    "values",
    [
        {"adapters": (("fits", 0.5),)},
        {"prompt": "lofi " * 100},
        {"options": GenerationOptions(condition_guidance=(("text", 2.0),))},
        {"model": "mini-melody", "frames": (0, 4), "options": GenerationOptions(melody_guidance_scale=2.0)},
        {"precision": "float32", "timeline": (TimelineEntry(0.5, "drums"),)},
    ],
    ids=["adapter", "many tokens", "guidance", "melody", "timeline"],
)
def test_what_the_model_takes_is_taken(service: GenerationService, values: dict) -> None:
    request = ClipRequest(**({"prompt": "x", "model": "mini", "duration": 1.0} | values))
    service.check("me", request)
    assert list(service.engine.stream(request, 1, lambda *_: None, Cancellation()))


def test_models_that_make_all_at_once_are_known_before_they_are_here() -> None:
    info = ModelCatalog().get("facebook/magnet-small-10secs")
    generator = MaskedGenerator(500)
    for options in (
        GenerationOptions(temperature=0.5), GenerationOptions(guidance_scale=2.0), GenerationOptions(window_overlap=0.1),
    ):  # fmt: skip
        request = ClipRequest("x", info.name, 5.0, options=options)
        with pytest.raises(InputError) as before:
            capabilities.check(request, info)
        with pytest.raises(InputError) as itself:
            generator.check(options)
        assert str(before.value) == str(itself.value)
    for values, message in (
        ({"timeline": (TimelineEntry(1.0, "drums"),)}, "choose another model for a timeline"),
        ({"continue_from": TUNE, "span": (0.0, 1.0)}, "choose another model to make a part of it anew"),
        ({"duration": 11.0}, "makes 10 s at most"),
    ):
        with pytest.raises(InputError, match=message):
            capabilities.check(ClipRequest(**({"prompt": "x", "model": info.name} | values)), info)  # type: ignore[arg-type]
    passes = GenerationOptions(decoding_steps=(2, 2, 2, 2), masked_temperature=2.0)
    capabilities.check(ClipRequest("x", info.name, 5.0, options=passes), info)


def test_a_folders_configuration_says_how_its_model_generates(tmp_path: Path) -> None:
    for name, values in (("passes", {"generator": {"kind": "masked"}, "max_duration": 8.0}), ("steps", {})):
        folder = shutil.copytree(catalog.PRETRAINED / "mini", tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        config["musicgen"] |= values
        config["audio_encoder"] |= {} if name == "steps" else {"sampling_rate": 16_000}
        (folder / "config.json").write_text(json.dumps(config))
    found = {info.name.split("/")[-1]: info for info in ModelCatalog(tmp_path)}
    assert [found[name].generator for name in ("passes", "steps", "mini")] == [
        "masked",
        "autoregressive",
        "autoregressive",
    ]
    assert [found[name].longest for name in ("passes", "steps")] == [8.0, None]
    assert [found[name].multi_band for name in ("steps", "passes")] == [True, False]
    request = ClipRequest("x", found["passes"].name, 5.0, decoder="mbd")
    with pytest.raises(
        InputError, match=r"decoder 'mbd' decodes the codes of EnCodec at 32 kHz, and .*passes has another"
    ):
        capabilities.check(request, found["passes"])


def test_the_api_refuses_at_once(tmp_path: Path) -> None:
    """Recordings too, whose length is known since they were sent."""
    with api(tmp_path) as (url, generations), httpx.Client(base_url=url, timeout=60) as client:
        tune = client.post("/v1/files", params={"name": "t.wav"}, content=TUNE.read_bytes()).json()
        song = mido.MidiFile()
        song.tracks.append(mido.MidiTrack([
            mido.Message("note_on", note=60, velocity=90), mido.Message("note_off", note=60, time=480)
        ]))  # fmt: skip
        song.save(tmp_path / "tune.mid")
        midi = client.post("/v1/files", params={"name": "t.mid"}, content=(tmp_path / "tune.mid").read_bytes()).json()
        for body, message in (
            ({"options": {"condition_guidance": {"energy": 2.0}}}, "condition_guidance names 'energy'"),
            ({"model": "facebook/musicgen-large"}, "is not on this machine, and nothing is downloaded here"),
            ({"continue_from": tune["id"], "duration": 1.0}, "the result includes it, so it must be longer"),
            ({"continue_from": midi["id"]}, "continue_from is a MIDI file: it must be a recording"),
            ({"continue_from": tune["id"], "span": [1.0, 500.0]}, "the span 1:500 reaches beyond the clip of"),
            ({"continue_from": tune["id"], "span": [2.0, 1.0]}, "the span 2:1 is empty"),
        ):
            answer = client.post("/v1/generations", json=body)
            assert answer.status_code == 422, body
            assert message in answer.json()["error"]["message"]
        assert len(generations.service.job_queue) == 0
        assert client.get("/v1/generations").json()["generations"] == []
