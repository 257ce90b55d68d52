"""The model catalog."""

from pathlib import Path

import pytest

from musicgen.errors import InputError
from musicgen.serving.models import ModelCatalog
from tests import standins


def test_the_melody_model_of_a_text_model() -> None:
    """Melodies are left as they are for the models that were trained so, also where a text model is chosen first."""
    models = ModelCatalog()
    assert [models.melody_model(name).name for name in ("mini", "mini-melody")] == ["mini-melody"] * 2
    assert models.melody_model("facebook/musicgen-small").separated is False  # the embedded one takes over
    published = ModelCatalog(allowed=["facebook/*"])
    assert published.melody_model("facebook/musicgen-small").name == "facebook/musicgen-melody"
    assert published.melody_model("facebook/musicgen-small").separated
    assert ModelCatalog(allowed=["mini"]).melody_model("mini") is None


def test_the_catalog_lists_the_operators_folder(tmp_path: Path) -> None:
    standins.write(standins.transformers_model(stereo=True), tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    models = ModelCatalog(tmp_path)
    name = f"{tmp_path.name}/mine"
    assert models.get(name).stereo
    assert [info.name for info in models][3] == name
    assert [info.name for info in ModelCatalog(tmp_path, ["mini*"])] == ["mini", "mini-melody", "mini-stereo-melody"]
    assert "CC-BY-NC" in models.get("facebook/musicgen-small").label
    assert models.default() == "mini"
    for hostile in (str(tmp_path / "mine"), "../mine", "", None, 3):
        with pytest.raises(InputError, match="unknown model"):
            models.get(hostile)
    with pytest.raises(InputError, match="no model's name matches"):
        ModelCatalog(None, ["nothing"])


def test_broken_models_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    standins.write(standins.transformers_model(), tmp_path / "good")
    config = (tmp_path / "good" / "config.json").read_text()
    broken = {
        "cut": (config[: len(config) // 2], "config.json is not JSON"),
        "other": ('{"model_type": "t5"}', "a checkpoint of the type 't5'"),
        "list": ("[]", "not a MusicGen model's"),
        "odd": ('{"model_type": "musicgen", "decoder": []}', "not a MusicGen model's"),
        "weightless": (config, "no weights"),
        "binary": (b"\xff\xfe", "config.json is not JSON"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        if name != "weightless":
            (tmp_path / name / "model.safetensors").write_bytes(b"x")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "config.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dangling" / "model.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a file").write_text("x")
    offered = [info.name for info in ModelCatalog(tmp_path) if info.origin == "folder"]
    assert offered == [f"{tmp_path.name}/good"]
    told = dict.fromkeys(broken, "")
    for record in caplog.records:
        told[Path(str(record.args[0])).name] = record.getMessage()
    assert set(told) == {*broken, "dangling"}
    for name, (_, reason) in broken.items():
        assert reason in told[name]
