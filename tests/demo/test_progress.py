"""What the page is sent while a clip is generated: little, because each component that Gradio updates costs processor time."""

import asyncio
from pathlib import Path

import pytest

from demo import ui
from demo.service import Service
from demo.ui.finished_clips import FinishedClips
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.request import ClipRequest
from musicgen.serving.stored_clip import StoredClip


class Visitor:
    """A request of a page."""

    session_hash = "someone"
    client = None


@pytest.fixture
def page(service: Service):
    return ui.build(service)


def event(page, name: str):
    return next(fn for fn in page.fns.values() if getattr(fn.fn, "__qualname__", "") == f"GenerationEvents.{name}")


@pytest.mark.parametrize("variations", [1, 2])
def test_an_update_during_a_generation_has_plain_values_for_all_its_outputs(page, variations: int) -> None:
    """Gradio makes a component anew for each output that an event leaves as it is, 40 ms for all of the page's."""
    generate, show = event(page, "generate"), event(page, "show_finished_clips")
    events = generate.fn.__self__
    outputs = events.parts.outputs
    assert generate.outputs == event(page, "rejoin").outputs == [outputs.status, outputs.live, outputs.finished_clips]
    named = {name: component.value for name, component in events.parts.inputs.items()}
    named |= {"prompt": "x", "model": "mini", "duration": 2.0, "variations": variations}

    async def updates() -> list:
        return [one async for one in events.generate(Visitor(), {}, *named.values())]

    seen = asyncio.run(updates())
    following = [one for one in seen if outputs.live in one]
    assert len(following) > 4
    assert seen.index(following[0]) <= 2
    for one in following:
        assert list(one) == generate.outputs
        assert all(isinstance(value, str) for value in one.values())
    # What has arrived is shown by another event: the first clip once, and that all are there.
    arrivals = list(dict.fromkeys(one[outputs.finished_clips] for one in following))
    assert [FinishedClips.load(value).count for value in arrivals] == [0, *range(1, variations + 1), variations]
    shown, panels, said = "", 0, []
    for value in [arrivals[0], *(one for one in arrivals[1:] for _ in range(2))]:  # a page can ask twice
        updated = events.show_finished_clips(Visitor(), value, shown)
        assert set(updated) <= set(show.outputs)
        shown = updated.get(outputs.shown, shown)
        panels += outputs.player in updated
        said += [updated[outputs.status]] if isinstance(updated.get(outputs.status), str) else []
    assert panels == 1
    (last,) = said
    assert ("2 clips to choose from" if variations == 2 else "2.00 s of music.") in last


@pytest.mark.parametrize(
    "value", ["", "{", "[]", "null", '{"first": 1}', '{"first": [], "count": 1, "last": "", "message": ""}', "[" * 9999]
)
def test_an_arrival_that_the_browser_changed_is_none(value: str) -> None:
    assert FinishedClips.load(value) == FinishedClips()


def test_an_arrival_survives_its_way_through_the_browser(tmp_path: Path) -> None:
    path = ClipStore(tmp_path, 1.0, 1e9).new_path("x.flac")
    clip = StoredClip(path, ClipRequest("x", "mini", 2.0), 1, 2.0, 1, 32000, -18.0, True, (0,), 0.0)
    finished_clips = FinishedClips().with_clip(clip).with_clip(clip).at_end(3.0)
    assert FinishedClips.load(finished_clips.dump()) == finished_clips
    assert finished_clips.message == "Done in 3.0 s: 2 clips to choose from; the last has 2.00 s of music."
