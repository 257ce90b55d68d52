"""LoRA adapters of the operator's folder on the page: what the library makes of the same files, and ones that do not fit."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import musicgen
from demo.configuration import Configuration
from demo.service import Service
from musicgen import audio, catalog
from musicgen.errors import InputError
from musicgen.serving import clip_metadata
from musicgen.serving.adapters import AdapterCatalog, show
from musicgen.serving.model_cache import ModelCache
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from musicgen.settings import Settings
from tests.demo.conftest import serving
from tests.demo.test_browser import generate, made, open_part, said, visit, wait_until, watch
from tests.test_adapters import adapter

ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's folder: two adapters for mini, and two that cannot be used."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("jazz", "dub: deep")):
        adapter(catalog.PRETRAINED / "mini", "text", folder / name, seed, ATTENTION)
    other = Path(shutil.copytree(folder / "jazz", folder / "too large"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "facebook/musicgen-large"})
    )
    tensors = other / "adapter_model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file(
        {
            name: torch.cat([tensor, tensor], dim=1) if "lora_A" in name else tensor
            for name, tensor in load_file(tensors).items()
        },
        tensors,
    )
    (folder / "damaged").mkdir()
    (folder / "damaged" / "adapter_config.json").write_text("{")
    return folder


def test_the_catalog(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters = AdapterCatalog(folder)
    assert "damaged is left out" in caplog.text
    assert [name for _, name in adapters.choices()] == ["dub: deep", "jazz", "too large"]
    assert ("too large (for musicgen-large)", "too large") in adapters.choices()
    weighted = adapters.parse(
        [
            "jazz:0.5",
            "dub: deep",
        ]
    )
    assert weighted == (("dub: deep", 1.0), ("jazz", 0.5))
    assert adapters.parse(show(weighted)) == weighted
    for texts, message in (
        (["jaz"], "unknown LoRA adapter 'jaz': did you mean 'jazz'"),
        (["../jazz"], "unknown LoRA adapter '../jazz'"),
        (["jazz:loud"], "the weight of the LoRA adapter 'jazz' is 'loud': a number"),
        (["jazz:nan"], "the weight of the adapter 'jazz' is nan"),
        (["jazz:99"], "a number up to 10"),
        (["jazz", "jazz:2"], "'jazz' is given twice"),
        (["jazz"] * 9, "9 LoRA adapters: 8 at most"),
    ):
        with pytest.raises(InputError, match=message):
            adapters.parse(texts)
    with pytest.raises(InputError, match="the operator offers none"):
        AdapterCatalog().parse(["jazz"])


def test_models_with_adapters_are_the_librarys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other weights of the same adapters need no loading."""
    cache = ModelCache(ModelCatalog(adapter_folder=folder), "cpu", max_models=3)
    loads: list[object] = []
    load = musicgen.checkpoint.load
    monkeypatch.setattr(musicgen.checkpoint, "load", lambda *values, **named: loads.append(1) or load(*values, **named))
    for weighted in ([("dub: deep", 0.5), ("jazz", 1.0)], [("dub: deep", -1.0), ("jazz", 0.25)], [("jazz", 0.25)], []):
        expected = load("mini", "cpu", "float32", adapters=[(folder / name, weight) for name, weight in weighted])
        with cache.use("mini", "float32", tuple(weighted)) as scheduler:
            for ours, theirs in zip(scheduler.model.lm.parameters(), expected.lm.parameters(), strict=True):
                assert torch.equal(ours, theirs)
    assert len(loads) == 3
    with pytest.raises(
        InputError, match=r"^too large: an adapter of another model, trained on 'facebook/musicgen-large'"
    ):
        cache.use("mini", "float32", (("too large", 1.0),)).__enter__()
    cache.close()


def test_links_and_files_bring_adapters_back(folder: Path, tmp_path: Path) -> None:
    service = Service(Configuration(adapter_folder=folder, models=("mini",)), tmp_path / "service")
    request = ClipRequest("x", "mini", 0.5, seed=1, precision="float32", adapters=(("dub: deep", 1.0), ("jazz", 0.5)))
    job = service.submit("me", request)
    assert job.wait(60)
    assert job.error is None
    clip = job.events()[-1]
    assert clip_metadata.read_file(clip.path, "", service.catalog)[0].adapters == request.adapters
    assert clip_metadata.read_link(clip_metadata.make_link(request, 1))[0].adapters == request.adapters
    uses = Settings.of_file(clip.path).adapters
    assert [(use.name, use.weight) for use in uses] == [("dub: deep", 1.0), ("jazz", 0.5)]
    plain = service.submit("me", ClipRequest("x", "mini", 0.5, seed=1, precision="float32"))
    assert plain.wait(60)
    assert not torch.equal(audio.read(clip.path).wave, audio.read(plain.events()[-1].path).wave)
    with pytest.raises(InputError, match="made with the LoRA adapter 'dub: deep', which this page does not have"):
        clip_metadata.read_file(clip.path, "clip.flac", ModelCatalog())
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    shutil.rmtree(other / "jazz")
    shutil.copytree(other / "dub: deep", other / "jazz")
    with pytest.raises(InputError, match=r"clip\.flac: was made with another LoRA adapter of the name 'jazz'"):
        clip_metadata.read_file(clip.path, "clip.flac", ModelCatalog(adapter_folder=other))
    service.close()


def test_adapters_are_picked_on_the_page(folder: Path, tmp_path: Path, browser) -> None:
    service = Service(Configuration(adapter_folder=folder, models=("mini",)), tmp_path)
    service.warm_up().join()
    with serving(service) as address:
        tab = browser.new_page()
        problems = watch(tab)
        visit(tab, address)
        open_part(tab, "More settings")
        field = tab.locator("#adapters input")
        field.click()
        tab.get_by_role("option", name="jazz").click()
        field.fill("dub: deep:0.5")
        field.press("Enter")
        assert "Done" in generate(tab, "bass", 1.0)
        (clip,) = made(service)
        assert clip_metadata.read_file(clip, "", service.catalog)[0].adapters == (("dub: deep", 0.5), ("jazz", 1.0))
        link = tab.input_value("#link input, #link textarea")
        tab.evaluate("localStorage.clear()")
        tab.goto(link)
        said(tab, "settings of your link")
        open_part(tab, "More settings")
        wait_until(tab, lambda: "dub: deep:0.5" in tab.inner_text("#adapters"))
        assert "jazz" in tab.inner_text("#adapters")
        field.fill("jaz")
        field.press("Enter")
        tab.click("#generate")
        assert "did you mean 'jazz'" in said(tab, "Not generated")
        tab.close()
        assert problems == []
