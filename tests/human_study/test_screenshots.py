"""The pictures of docs/human_study.md: of the example study, written to docs/images where MUSICGEN_SCREENSHOT is set.

    MUSICGEN_SCREENSHOT=1 pytest tests/human_study/test_screenshots.py

The report's ratings are drawn from the CrowdMOS model (`simulation.py`).
"""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

import human_study
from human_study.analysis import report, results
from human_study.database import study_database
from human_study.design import prepare, study_settings
from human_study.web.app import create_app
from tests.human_study import simulation
from tests.human_study.conftest import serving
from tests.human_study.test_browser import SECOND, agree, hear, set_slider

EXAMPLE = Path(human_study.__file__).parent / "example" / "STUDY.yaml"
SMALLEST = 20_000
"""Bytes of a picture that shows something."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return Path(__file__).parents[2] / "docs" / "images" if os.environ.get("MUSICGEN_SCREENSHOT") else tmp_path


@pytest.fixture
def example(images: Path, study_files: Path, tmp_path: Path):
    """example(questions) -> the address of the example study with these questions; with short tones where nothing is kept."""
    settings = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    if images == tmp_path:
        settings["systems"] = {"bright": "samples/bright", "dull": "samples/dull"}
    folder = study_files if images == tmp_path else EXAMPLE.parent
    settings["systems"] = {name: str(folder / path) for name, path in settings["systems"].items()}
    settings |= {name: str(folder / settings[name]) for name in ("reference", "melody")}
    settings |= {"headphone_check": "off", "practice": False, "attention_checks": 0}

    def built(questions: list):
        (tmp_path / "STUDY.yaml").write_text(yaml.safe_dump(settings | {"questions": questions}))
        study = prepare.build(study_settings.read(tmp_path / "STUDY.yaml"), tmp_path / "study")
        return serving(create_app(study, study_database.open_database(study, f"sqlite:///{tmp_path / 'study.db'}")))

    return built


@pytest.mark.parametrize(
    ("name", "questions", "viewport"),
    [
        ("human_study-mushra", [{"name": "OVL", "method": "mushra"}], {"width": 1100, "height": 880}),
        ("human_study-phone", ["REL"], {"width": 375, "height": 780}),
    ],
)
def test_rating_pages(name: str, questions: list, viewport: dict, example, browser, images: Path) -> None:
    phone = viewport["width"] < 500
    context = browser.new_context(
        locale="en-GB", viewport=viewport, has_touch=phone, is_mobile=phone, device_scale_factor=2 if phone else 1
    )
    with example(questions) as address:
        page = context.new_page()
        page.set_default_timeout(30 * SECOND)
        agree(page, address)
        page.locator(".trial").wait_for()
        columns, sliders = page.locator(".column"), page.locator(".scale input")
        rated = max(1, sliders.count() // 2)
        for index in range(columns.count() - sliders.count() + rated):
            hear(columns.nth(index))
        for index in range(rated):
            set_slider(page, sliders.nth(index), (77, 61)[index % 2])
        columns.last.locator(".play").click()
        page.wait_for_timeout(0.5 * SECOND)
        page.evaluate("window.scrollTo(0, 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.screenshot(path=images / f"{name}.png")
    context.close()
    assert (images / f"{name}.png").stat().st_size > SMALLEST


def test_report(browser, images: Path, tmp_path: Path) -> None:
    mus = {"system A": 75, "system B": 60, "anchor 3500 Hz": 30, "anchor 7000 Hz": 55, "reference": 95}
    data, _ = simulation.study(np.random.default_rng(1), mus=mus)
    html = report.write(results.analyse(data), "example", tmp_path)[0]
    page = browser.new_page(viewport={"width": 1000, "height": 1250})
    page.goto(html.as_uri())
    assert "48 raters gave 3600 ratings" in page.inner_text("body")
    page.screenshot(path=images / "human_study-report.png")
    page.close()
    assert (images / "human_study-report.png").stat().st_size > SMALLEST
