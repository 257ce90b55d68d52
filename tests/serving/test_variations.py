"""The variations of a job: generated at the same time, each as it would be alone, the first streamed."""

from pathlib import Path

import pytest
import torch

from musicgen import audio
from musicgen.cancellation import Cancelled
from musicgen.errors import InputError
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog
from musicgen.serving.progress import Progress, VariationsProgress
from musicgen.serving.request import ClipRequest
from musicgen.serving.service import GenerationService, PlaybackChunk
from musicgen.serving.stored_clip import StoredClip

PATIENCE = 120.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    limits, catalog = Limits(), ModelCatalog(allowed=("mini",))
    engine = LocalEngine(catalog, "cpu", slots=4, queue=8)
    made = GenerationService(engine, limits, ClipStore(tmp_path_factory.mktemp("clips"), 1.0), workers=2)
    made.warm_up().join()
    yield made
    made.close()


def clips_of(service: GenerationService, request: ClipRequest) -> list[StoredClip]:
    job = service.submit("me", request)
    assert job.wait(PATIENCE)
    assert job.error is None
    return [event for event in job.events() if isinstance(event, StoredClip)]


def test_variations_share_a_batch_and_are_the_clips_of_their_seeds(
    service: GenerationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ClipRequest("slow piano", "mini", 3.0, seed=5, variations=3, precision="float32")
    alone = [
        clips_of(service, ClipRequest("slow piano", "mini", 3.0, seed=seed, precision="float32"))[0]
        for seed in (5, 6, 7)
    ]
    running, most = set(), 0
    stream = service._stream

    def counted(request, seed, report, cancellation, key):
        nonlocal most
        running.add(seed)
        try:
            for chunk in stream(request, seed, report, cancellation, key):
                most = max(most, len(running))
                yield chunk
        finally:
            running.discard(seed)

    monkeypatch.setattr(service, "_stream", counted)
    job = service.submit("me", request)
    assert job.wait(PATIENCE)
    assert job.error is None
    events = job.events()
    made = [event for event in events if isinstance(event, StoredClip)]
    assert most == 3
    assert [clip.seed for clip in made] == [5, 6, 7]
    assert len({clip.generation for clip in made}) == 1
    for ours, theirs in zip(made, alone, strict=True):
        assert torch.equal(audio.read(ours.path).wave, audio.read(theirs.path).wave)
    # The first is heard while it is generated, and is whole before it is there as a file.
    heard = [event for event in events[: events.index(made[0])] if isinstance(event, PlaybackChunk)]
    assert len(heard) > 2
    assert sum(len(chunk.samples) for chunk in heard) == round(3.0 * heard[0].rate)
    assert not [event for event in events[events.index(made[0]) :] if isinstance(event, PlaybackChunk)]
    # What several take at once is known by itself.
    for clips in (1, 3):
        assert service.measured_seconds("mini", "float32", 3.0, clips) is not None
    one = service.measured_seconds("mini", "float32", 3.0)
    assert service.measured_seconds("mini", "float32", 3.0, 2) == pytest.approx(2 * one)


def test_one_that_fails_ends_the_others(service: GenerationService, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = service._stream

    def failing(request, seed, report, cancellation, key):
        for number, chunk in enumerate(stream(request, seed, report, cancellation, key)):
            if seed == 6 and number == 1:
                raise InputError("broken")
            yield chunk

    monkeypatch.setattr(service, "_stream", failing)
    job = service.submit("me", ClipRequest("x", "mini", 60.0, seed=5, variations=3))
    assert job.wait(PATIENCE)
    assert str(job.error) == "broken"
    clips = [event for event in job.events() if isinstance(event, StoredClip)]
    assert [clip.seed for clip in clips] in ([], [5])


def test_stop_keeps_what_there_is_and_cancel_nothing(service: GenerationService) -> None:
    for end in ("stop", "cancel"):
        job = service.submit("me", ClipRequest("x", "mini", 300.0, seed=5, variations=2))
        with_sound = lambda: any(isinstance(event, PlaybackChunk) for event in job.events())  # noqa: B023, E731
        while not with_sound() and not job.wait(0.05):
            pass
        getattr(job, end)()
        assert job.wait(PATIENCE)
        clips = [event for event in job.events() if isinstance(event, StoredClip)]
        assert [clip.complete for clip in clips] == [False] * len(clips)
        assert (len(clips) > 0) == (end == "stop")
        assert job.error is None or isinstance(job.error, Cancelled)


def test_the_progress_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("musicgen.serving.speeds.time.monotonic", lambda: now)
    seen: list[Progress] = []
    for at_once, message, left in (
        (True, "2 variations, generating", 10.0),
        (False, "variation 1 of 2, generating", 17.5),
    ):
        progress = VariationsProgress(seen.append, 2, at_once=at_once)
        now = 0.0
        progress.report(0, 0.1, "generating")
        now = 1.5  # for 15 % of a clip: 10 s for all of it, and the second has not begun
        progress.report(0, 0.25, "generating")
        assert seen[-1] == Progress(message, 0.125, pytest.approx(left))


def test_clips_of_a_folder_are_apart(tmp_path: Path) -> None:
    """A folder that cannot be guessed for what has several files; it counts for its network."""
    store = ClipStore(tmp_path, 1.0)
    one, other = store.new_folder("1.2.3.4"), store.new_folder()
    assert one != other
    assert len(one.name) == 32
    assert store._network_of(one / "clip.flac") == "1.2.3.4"
    store.close()
