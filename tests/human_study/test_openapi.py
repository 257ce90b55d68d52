"""The endpoints of the rating pages by their own description: whatever is sent, the answer is one of ours."""

import shutil

import httpx
import pytest
from sqlalchemy import select

from human_study.database import queries, schema, study_database
from human_study.design import manifest
from human_study.web.app import create_app
from human_study.web.security import HEADERS, SESSION_COOKIE
from tests import openapi
from tests.human_study.conftest import serving


@pytest.mark.parametrize("examples", [3, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("who", ["nobody", "a rater"])
def test_every_answer_is_one_of_ours(build_study, migrated_sqlite, who, examples):
    study = build_study()
    shutil.copy(migrated_sqlite, study.path / manifest.DATABASE)
    database = study_database.open_database(study)
    app = create_app(study, database)
    with serving(app) as address:
        cookies = {}
        if who == "a rater":
            entered = httpx.post(f"{address}/api/enter", json={}, trust_env=False)
            cookies = {
                "X-CSRF-Token": entered.json()["csrf"],
                "Cookie": f"{SESSION_COOKIE}={entered.cookies[SESSION_COOKIE]}",
            }
            httpx.post(f"{address}/api/consent", json={"agreed": True}, headers=cookies, trust_env=False)
        seen = {}

        def check(case, answer):
            shown = f"{case.method} {case.path} {case.body!r}"[:500]
            assert answer.status_code < 500, (shown, answer.text)
            headers = {name.lower(): value[0] for name, value in answer.headers.items()}
            # What is no HTTP is answered by the HTTP library, before the application.
            own = answer.text != "Invalid HTTP request received."
            assert not own or set(HEADERS) <= set(headers), shown
            if own and answer.status_code >= 400:
                assert set(answer.json()) >= {"code", "error"}, (shown, answer.text)
                assert "\n" not in answer.json()["error"]
            seen.setdefault(case.path, set()).add(answer.status_code)

        sent = sum(
            openapi.call(operation, address, examples, check, cookies)
            for operation in openapi.operations(app.openapi())
        )
        print(f"{sent} requests to {len(seen)} paths as {who}: {seen}")
        assert {"/api/enter", "/api/trials/{lease}", "/admin/api/login", "/audio/{token}"} <= set(seen)
        assert httpx.get(address, trust_env=False).status_code == 200
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0
    database.dispose()
