import pytest

import musicgen


@pytest.fixture(scope="module", params=["text", "melody", "stereo"])
def model(request: pytest.FixtureRequest, audiocraft_folder):
    return musicgen.load(audiocraft_folder(request.param))


@pytest.fixture(scope="module")
def text_model(audiocraft_folder):
    return musicgen.load(audiocraft_folder("text"))
