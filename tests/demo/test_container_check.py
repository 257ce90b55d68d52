"""What the check of the container asks of a page, asked of a page here."""

import json

from tests.encoding import encode, melody
from tools import container_check


def data(event: str) -> list:
    kind, _, values = event.partition("\n")
    assert kind == "event: complete", event
    return json.loads(values.removeprefix("data: "))


def test_a_clip_is_made(address):
    clip, others, about = data(container_check.make_clip(f"{address}gradio_api"))
    assert clip["path"].endswith(".mp3")
    assert (others, about["seconds"], about["seed"], about["precision"]) == ([], 2.0, 1, "float32")


def test_an_upload_is_followed(address, tmp_path):
    recording = encode(tmp_path / "melody.webm", melody(3.0, 48_000), 48_000, "libopus")
    (frames,) = data(container_check.follow(f"{address}gradio_api", recording))
    assert len(frames) >= 3.0 / 0.128 - 1
    assert set(frames) <= set(range(12))


def test_an_error_is_no_success(address, tmp_path):
    broken = tmp_path / "melody.webm"
    broken.write_bytes(b"no sound")
    assert container_check.follow(f"{address}gradio_api", broken).startswith("event: error")
