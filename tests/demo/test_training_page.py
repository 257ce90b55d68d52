"""The section in which visitors train adapters, in Chromium: clips to captions to a training to an adapter among the others."""

from pathlib import Path

import pytest

from demo.configuration import Configuration, TrainingLimits
from demo.service import Service
from tests.demo.conftest import visits_of
from tests.demo.conftest import wait_until as wait
from tests.demo.test_browser import (  # noqa: F401
    SECOND,
    assert_accessible,
    axe,
    generate,
    open_part,
    said,
    set_slider,
    visit,
    wait_until,
    watch,
)
from tests.demo.test_training import PATIENCE, clip

pytestmark = pytest.mark.timeout(600)
TITLE = "Train an adapter on your own clips"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(Configuration(training=TrainingLimits(), models=("mini",)), tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def _as_fast_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.training.process.NICENESS", 0)  # beside other tests it would wait for them


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [str(clip(tmp_path, number).file) for number in range(5)]


def status(tab) -> str:
    return tab.locator("#training-status").inner_text()


def test_an_adapter_is_trained_on_the_page(browser, address: str, service: Service, files: list[str]) -> None:
    tab = browser.new_context(viewport={"width": 1240, "height": 900}).new_page()
    tab.set_default_timeout(20 * SECOND)
    problems = watch(tab)
    visit(tab, address)
    assert not tab.locator("#training-clips").is_visible()  # the section is closed
    open_part(tab, TITLE)
    captions = tab.locator("#training-captions textarea")
    tab.set_input_files("#training-clips input[type=file]", files)
    wait_until(tab, lambda: len(captions.input_value().splitlines()) == 5, seconds=PATIENCE)
    proposed = captions.input_value().splitlines()
    assert [line.split(":")[0] for line in proposed] == [f"{number:02d} plucked.wav" for number in range(5)]
    assert all(": plucked" in line for line in proposed)
    tab.click("#training-train")
    wait_until(tab, lambda: "Not trained: the adapter has no name" in status(tab))
    captions.fill("\n".join(f"{line}, soft" for line in proposed))
    tab.locator("#training-name input, #training-name textarea").fill("Plucked")
    set_slider(tab, "training-steps", 20)
    set_slider(tab, "training-sample-every", 10)
    tab.click("#training-train")
    wait_until(tab, lambda: "Training, step" in status(tab), seconds=PATIENCE)
    # The page goes on making clips, and another visitor sees nothing of it.
    assert "Done" in generate(tab, "drums", 1.0)
    stranger = browser.new_context().new_page()
    visit(stranger, address)
    open_part(stranger, TITLE)
    assert status(stranger) == ""
    # A page that is reloaded finds its training again.
    tab.reload()
    open_part(tab, TITLE)
    wait_until(tab, lambda: "step" in status(tab), seconds=PATIENCE)
    wait_until(tab, lambda: "Trained: step 20 of 20" in status(tab), seconds=PATIENCE)
    assert "the loss on held-out clips was" in status(tab)
    assert tab.locator("#training-status svg polyline").count() == 1
    assert tab.locator("#training-status svg circle").count() == 3
    wait_until(tab, lambda: tab.locator("#training-sample").is_visible())
    assert "Sample after 20 steps" in tab.locator("#training-sample").inner_text()
    tab.click("#training-pack")
    with tab.expect_download() as download:
        tab.click("#training-download")
    assert download.value.suggested_filename.startswith("plucked-")
    # It is among the LoRA adapters of this visitor.
    open_part(tab, "More settings")
    tab.locator("#adapters input").click()
    option = tab.get_by_role("option", name="plucked-")
    wait_until(tab, lambda: option.count() == 1)
    option.click()
    assert "Done" in generate(tab, "plucked", 1.0)
    visitor = next(one for one in visits_of(service) if len(one.clips) == 2)
    assert [name[:8] for name, _ in visitor.clips[-1].request.adapters] == ["plucked-"]
    assert not stranger.locator("#adapters").is_visible()
    for one in (tab, stranger):
        one.context.close()
    assert problems == []


def test_it_is_stopped_and_goes_on_with_buttons(
    browser,
    address: str,
    service: Service,
    files: list[str],
    axe: str,  # noqa: F811
) -> None:
    tab = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).new_page()
    tab.set_default_timeout(20 * SECOND)
    visit(tab, address)
    open_part(tab, TITLE)
    tab.set_input_files("#training-clips input[type=file]", files)
    wait_until(tab, lambda: "plucked" in tab.locator("#training-captions textarea").input_value(), seconds=PATIENCE)
    tab.locator("#training-name input, #training-name textarea").fill("Soft")
    set_slider(tab, "training-steps", 20)
    set_slider(tab, "training-sample-every", 10)
    tab.click("#training-train")
    assert not tab.locator("#training-go-on").is_visible()
    wait_until(tab, lambda: "Training, step" in status(tab), seconds=PATIENCE)
    tab.click("#training-stop")
    wait_until(tab, lambda: "Stopped at step" in status(tab), seconds=PATIENCE)
    assert service.trainings is not None
    wait(lambda: len(service.trainings.job_queue) == 0)
    tab.locator("#training-go-on").wait_for()
    beyond = tab.evaluate(
        """[...document.querySelectorAll('body *')].filter((one) => one.offsetParent && !one.closest('.scroll')
            && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert beyond == []
    tab.emulate_media(reduced_motion="reduce")
    assert_accessible(tab, axe)
    # All of it can be reached with the keyboard.
    tab.focus("#training-captions textarea")
    reached = set()
    for _ in range(16):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.closest('[id^=training-]')?.id"))
    assert {f"training-{name}" for name in ("name", "model", "steps", "sample-every", "train", "go-on")} <= reached
    tab.focus("#training-go-on")
    tab.keyboard.press("Enter")
    wait_until(tab, lambda: "Trained: step 20 of 20" in status(tab), seconds=PATIENCE)
    tab.context.close()
