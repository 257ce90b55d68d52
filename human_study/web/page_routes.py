"""The rating page: one HTML file, its scripts and styles, and its texts in each language of the study."""

from __future__ import annotations

import copy
import functools
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from musicgen.errors import InputError

from ..design.manifest import Study
from ..design.questionnaire import Field, Questionnaire
from ..html_templates import render
from ..sessions.errors import RequestRefused

WEB = Path(__file__).parent
TEMPLATE = WEB / "templates" / "study.html"


def texts(language: str) -> dict[str, Any]:
    """All texts of the rating page.

    Args:
        language: name of a file of texts/, without its suffix.
    """
    return copy.deepcopy(_document(language))


@functools.cache
def _document(language: str) -> dict[str, Any]:
    return dict(yaml.safe_load((WEB / "texts" / f"{language}.yaml").read_text(encoding="utf-8")))


def check_languages(languages: Sequence[str]) -> None:
    """Check that there are texts in every language of a study.

    Raises:
        InputError: there are none in one of them.
    """
    present = sorted(file.stem for file in (WEB / "texts").glob("*.yaml"))
    for language in languages:
        if language not in present:
            raise InputError(
                f"languages: there are no texts in {language[:20]!r}: {', '.join(present)} are there; add "
                f"{language[:20]}.yaml to {WEB / 'texts'}"
            )


def add_routes(app: FastAPI, study: Study) -> None:
    """Add the rating page, its texts and its static files."""
    mimetypes.add_type("text/javascript", ".js")
    check_languages(study.settings.languages)
    languages = study.settings.languages
    translated = {language: _study_texts(study, language) for language in languages}
    shell = render(
        TEMPLATE, title=next(iter(study.settings.title.values()), study.settings.name), languages=list(languages),
        contact=study.settings.contact,
    )  # fmt: skip

    # From memory, in the event loop: these answers wait for no thread and no database.
    @app.get("/")
    async def index() -> Response:
        return Response(shell, media_type="text/html")

    @app.get("/texts/{language}.json")
    async def language_texts(language: str) -> JSONResponse:
        if language not in translated:
            raise RequestRefused(404, "no_language", f"no texts in {language[:8]!r}: {', '.join(languages)}")
        return JSONResponse(translated[language])

    app.mount("/static", StaticFiles(directory=WEB / "static"))


def _study_texts(study: Study, language: str) -> dict[str, Any]:
    settings = study.settings
    found = texts(language)
    found["labels"] = {}
    found["title"] = settings.title.get(language, found["title"])
    if language in settings.consent:
        found["consent_text"] = [part for part in settings.consent[language].split("\n\n") if part.strip()]
    elif _fields(study):
        found["consent_text"].insert(-1, found["consent_questionnaire"])
    values = {"days": settings.retention_days, "contact": settings.contact or "—"}
    found["consent_text"] = [str(part).replace("{days}", str(values["days"])).replace("{contact}", str(values["contact"]))
                             for part in found["consent_text"]]  # fmt: skip
    for question in settings.questions:
        if question.stimuli == "single" and question.name in found["single_questions"]:
            found["questions"][question.name] = found["single_questions"][question.name]
        if question.text.get(language):
            found["questions"][question.name] = question.text[language]
        if question.labels:
            found["labels"][question.name] = list(question.labels[language])
    for field in _fields(study):
        wording = found["fields"].setdefault(field.name, {"options": {}})
        wording["text"] = field.text.get(language, wording.get("text"))
        labels = field.labels.get(language) or [wording["options"].get(option, option) for option in field.options]
        wording["options"] = dict(zip(field.options, labels, strict=True))
    return found


def _fields(study: Study) -> tuple[Field, ...]:
    questionnaire = study.settings.questionnaire or Questionnaire()
    return questionnaire.before + questionnaire.after
