"""What the server stores, what it refuses and why; on both databases."""

import io
import json
import math
import threading

import numpy as np
import pytest
import soundfile
from sqlalchemy import select, update

from human_study.analysis import interim_screening
from human_study.database import queries, schema
from human_study.design import manifest
from human_study.sessions import headphone_check, leases, raters
from human_study.web import admin_overview, file_padding, security
from tests.human_study.client import answer


@pytest.fixture
def one(build_study, open_app):
    """A rater on the first page: (client, trial, store)."""
    database, new = open_app(build_study())
    rater = new()
    return rater, rater.start()["trial"], database


def stored(database):
    with database.read() as connection:
        return queries.count_rows(connection, select(schema.trial)), queries.count_rows(
            connection, select(schema.listening)
        )


def test_a_rater_goes_from_consent_to_the_receipt(build_study, open_app):
    _, new = open_app(build_study(practice="true", attention_checks=1, headphone_check="record"))
    rater = new()
    assert rater.enter(language="de").status_code == 200
    assert rater.state()["stage"] == "consent"
    assert rater.post("/api/consent", {"agreed": False}).json()["code"] == "not_agreed"
    rater.post("/api/consent", {"agreed": True})
    state = rater.state()
    assert state["stage"] == "headphones"
    assert len(set(state["clips"])) == 6
    assert rater.post("/api/headphones", {"answers": [1, 2]}).json()["code"] == "bad_answers"
    assert rater.post("/api/headphones", {"answers": [1] * 6}).status_code == 200
    kinds, questions, items = [], [], []
    state = rater.state()
    while state["stage"] == "trial":
        trial = state["trial"]
        kinds.append(trial["kind"])
        questions.append(trial["question"])
        items.append(trial["prompt"])
        assert rater.submit(trial).status_code == 200
        state = rater.state()
    assert kinds[0] == "practice"
    assert sorted(kinds) == ["attention", "practice", "rating", "rating", "rating"]
    assert {"OVL", "REL", "MEL"} < set(questions)
    assert state["stage"] == "done"
    assert state["completion_url"] is None
    assert len(state["receipt"]) == 16


def test_the_pages_show_what_their_question_needs(build_study, open_app):
    _, new = open_app(build_study())
    rater = new()
    state = rater.start()
    seen = {}
    while state["stage"] == "trial":
        seen[state["trial"]["question"]] = state["trial"]
        rater.submit(state["trial"])
        state = rater.state()
    assert len(seen["OVL"]["clips"]) == 2 + 1 + 2  # systems, hidden reference, anchors
    assert seen["OVL"]["reference"]["kind"] == "reference"
    assert seen["MEL"]["reference"]["kind"] == "melody"
    assert seen["REL"]["reference"] is None
    assert seen["REL"]["prompt"]
    assert seen["OVL"]["prompt"] is None
    text = json.dumps(seen)
    for word in ("dull", "anchor", "flac", "OVL/"):
        assert word not in text


def test_the_same_submission_three_times_is_one_row_and_one_receipt(one):
    rater, trial, database = one
    body = answer(trial)
    receipts = {rater.submit(trial, body).json()["receipt"] for _ in range(3)}
    assert len(receipts) == 1
    assert stored(database) == (1, len(body["heard"]))


@pytest.mark.parametrize("same", [True, False])
def test_twenty_threads_submit_one_page(one, same):
    """With one key, as a page that sends again, or each with its own: one rating, one receipt, and everybody knows it."""
    rater, trial, database = one
    bodies = [answer(trial) for _ in range(20)]
    if same:
        bodies = [bodies[0]] * 20
    together, replies = threading.Barrier(20), []

    def submit(body):
        together.wait(10)
        replies.append(rater.submit(trial, body))

    threads = [threading.Thread(target=submit, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(reply.status_code for reply in replies) == ([200] * 20 if same else [200] + [409] * 19)
    assert len({reply.json()["receipt"] for reply in replies}) == 1
    assert stored(database)[0] == 1


def test_a_second_tab_with_other_values_gets_the_first_receipt(one):
    rater, trial, database = one
    first = rater.submit(trial, answer(trial)).json()
    second = rater.submit(trial, answer(trial, lambda *_: 90))
    assert (second.status_code, second.json()["code"]) == (409, "already_rated")
    assert second.json()["receipt"] == first["receipt"]
    with database.read() as connection:
        values = connection.execute(
            select(schema.listening.c.value).where(schema.listening.c.value.is_not(None))
        ).scalars()
        assert set(values) == {50}


def test_a_key_serves_one_page(one):
    rater, trial, database = one
    body = answer(trial)
    rater.submit(trial, body)
    following = rater.state()["trial"]
    refused = rater.submit(following, answer(following) | {"key": body["key"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "key_used")
    assert stored(database)[0] == 1


@pytest.mark.parametrize("value", [0, 101, -5, 55.5, "NaN", "50", None, True, float("nan"), 10**30, [50]])
def test_bad_values_are_refused(one, value):
    rater, trial, database = one
    body = answer(trial)
    body["values"][trial["clips"][0]["token"]] = value
    headers = {"X-CSRF-Token": rater.csrf, "Content-Type": "application/json"}
    response = rater.http.post(f"/api/trials/{trial['lease']}", content=json.dumps(body), headers=headers)
    assert response.status_code == 422, response.text
    assert response.json()["error"]
    assert stored(database) == (0, 0)


def change_first(name, value):
    def change(body, trial):
        body[name][trial["clips"][0]["token"]] = value

    return change


def drop(name):
    return lambda body, trial: body[name].pop(trial["clips"][0]["token"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (drop("values"), "unrated"),
        (drop("heard"), "foreign_stimulus"),
        (lambda body, _: body["values"].update({"0" * 32: 50}), "foreign_stimulus"),
        (lambda body, _: body["heard"].update({"0" * 32: [[0, 1]]}), "foreign_stimulus"),
        (lambda body, _: body.update(preferred=""), "bad_values"),
        (change_first("heard", []), "unheard"),
        (change_first("heard", [[0, 0.5]]), "unheard"),
        (change_first("heard", [[0, 0.3], [0, 0.3], [0, 0.3], [0, 0.3]]), "unheard"),
        (change_first("heard", [[0, 60]]), "bad_listening"),
        (change_first("heard", [[1, 0]]), "bad_listening"),
        (change_first("heard", [[-1, 1]]), "invalid"),
        (change_first("heard", [["0", "NaN"]]), "invalid"),
        (change_first("heard", [[0, 1]] * 501), "invalid"),
        (lambda body, _: body.update(key="x"), "invalid"),
        (lambda body, _: body.update(key="' OR 1=1 --"), "invalid"),
        (lambda body, _: body.update(extra=1), "invalid"),
    ],
)
def test_a_page_that_does_not_fit_is_refused_with_a_reason(one, change, code):
    rater, trial, database = one
    body = answer(trial)
    change(body, trial)
    response = rater.submit(trial, body)
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert "\n" not in response.json()["error"]
    assert stored(database) == (0, 0)


def test_intervals_that_rounding_emptied_or_lengthened_are_taken(one):
    rater, trial, database = one
    length = trial["clips"][0]["seconds"]
    body = answer(trial)
    change_first("heard", [[0.5, 0.5], [0, length - 0.01], [length, length], [length - 0.01, length + 0.0004]])(
        body, trial
    )
    assert rater.submit(trial, body).status_code == 200
    with database.read() as connection:
        rows = connection.execute(select(schema.listening.c.heard_share, schema.listening.c.intervals)).all()
    assert all(row.heard_share == 1 and row.intervals == [[0, length]] for row in rows)


@pytest.mark.parametrize("minimum", [0.9, 0.98, 1])
def test_what_the_server_takes_passes_the_default_screening(build_study, open_app, minimum):
    study = build_study(minimum_heard=minimum, questions="[REL]")
    database, new = open_app(study)
    rater = new()
    trial = rater.start()["trial"]
    least = math.ceil(minimum * math.floor(1000 * trial["clips"][0]["seconds"])) / 1000
    body = answer(trial)
    body["heard"] = {token: [[0, least - 0.001]] for token in body["heard"]}
    assert rater.submit(trial, body).json()["code"] == "unheard"
    body["heard"] = {token: [[0, least]] for token in body["heard"]}
    assert rater.submit(trial, body).status_code == 200
    with database.write() as connection:
        assert interim_screening.screen(connection, database, study) == []
        shares = set(connection.execute(select(schema.listening.c.heard_share)).scalars())
    assert shares == {round(1000 * least) / math.floor(1000 * trial["clips"][0]["seconds"])}


def test_more_listening_than_time_is_refused(build_study, open_app):
    database, new = open_app(build_study(clock="true"))
    rater = new()
    trial = rater.start()["trial"]
    while len(trial["clips"]) < 5:  # the MUSHRA page: six clips of a second each
        with database.write() as connection:
            connection.execute(update(schema.lease).values(created_at=0.0))
        rater.submit(trial)
        trial = rater.state()["trial"]
    assert rater.submit(trial).json()["code"] == "too_fast"


def test_another_raters_page_is_refused(build_study, open_app):
    _, new = open_app(build_study())
    mine, other = new(), new()
    trial = mine.start()["trial"]
    other.start()
    assert other.submit(trial).json()["code"] == "not_yours"
    assert other.http.get(f"/audio/{trial['clips'][0]['token']}").status_code == 404
    assert mine.http.get(f"/audio/{trial['clips'][0]['token']}").status_code == 200
    stranger = new()
    assert stranger.submit(trial).json()["code"] == "no_session"
    assert stranger.http.get(f"/audio/{trial['clips'][0]['token']}").status_code == 401


def expire(database, trial):
    """As if nobody had been on a page for longer than its lease."""
    with database.write() as connection:
        lease = schema.lease.c.public_id == trial["lease"]
        connection.execute(update(schema.lease).where(lease).values(expires_at=1.0))


def test_an_expired_page_that_is_still_wanted_is_stored_once(one):
    rater, trial, database = one
    assert rater.beat(trial).json()["seconds"] == 1800
    expire(database, trial)
    assert rater.beat(trial).status_code == 200  # the browser was asleep, and has its place again
    expire(database, trial)
    assert rater.state()["trial"] == trial
    expire(database, trial)
    body = answer(trial)
    first = rater.submit(trial, body)
    assert first.status_code == 200
    assert rater.submit(trial, body).json()["receipt"] == first.json()["receipt"]
    assert rater.beat(trial).json()["code"] == "already_rated"
    assert stored(database)[0] == 1


@pytest.mark.parametrize("round_", range(4))
def test_a_lease_that_expires_in_the_middle_of_a_submission(build_study, open_app, round_):
    """While another rater takes the last place on the page: one of the two ratings counts, and both raters know which."""
    database, new = open_app(build_study(raters_per_sample=1))
    late = new()
    trial = late.start()["trial"]
    assert late.beat(trial).status_code == 200
    expire(database, trial)

    def page_of(given):
        with database.read() as connection:
            lease = schema.lease
            return connection.execute(select(lease.c.page_id).where(lease.c.public_id == given["lease"])).scalar_one()

    while True:
        other = new()
        theirs = other.start()["trial"]
        if page_of(theirs) == page_of(trial):
            break
    together = threading.Barrier(2)
    answers = {}

    def submit(name, rater, page):
        together.wait(10)
        if name == "other" and round_ % 2:
            rater.beat(page)
        answers[name] = rater.submit(page)

    threads = [
        threading.Thread(target=submit, args=arguments)
        for arguments in (("late", late, trial), ("other", other, theirs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    codes = sorted((reply.status_code, reply.json().get("code")) for reply in answers.values())
    assert codes == [(200, None), (410, "lease_lost")]
    with database.read() as connection:
        trials = schema.trial
        assert queries.count_rows(connection, select(trials).where(trials.c.page_id == page_of(trial))) == 1
    loser = late if answers["late"].status_code == 410 else other
    assert loser.state()["stage"] == "trial"  # another page


@pytest.mark.parametrize("sign", ["heartbeat", "page"])
def test_raters_who_open_the_study_at_once_fill_no_page_twice(build_study, open_app, sign):
    """Thirty raters for nine places: whoever shows a sign of life first has one."""
    database, new = open_app(build_study(raters_per_sample=1))
    people = [(rater, rater.start()) for rater in (new() for _ in range(30))]
    while people:
        waiting = []
        for rater, state in people:
            if state["stage"] != "trial":
                assert state["stage"] in {"full", "done"}
                continue
            reply = rater.beat(state["trial"]) if sign == "heartbeat" else None
            reply = rater.submit(state["trial"]) if reply is None or reply.status_code == 200 else reply
            assert reply.status_code == 200 or (reply.status_code, reply.json()["code"]) == (410, "lease_lost")
            waiting.append((rater, rater.state()))
        people = waiting
    with database.read() as connection:
        pages = connection.execute(select(schema.trial.c.page_id)).scalars().all()
    assert len(pages) == len(set(pages)) == 9


def test_an_expired_lease_is_lost_when_others_filled_the_page(build_study, open_app):
    study = build_study(raters_per_sample=1)
    database, new = open_app(study)
    late = new()
    trial = late.start()["trial"]
    expire(database, trial)
    for _ in range(3):
        new_rater = new()
        new_rater.start()
        new_rater.rate_all()
    refused = late.submit(trial)
    assert (refused.status_code, refused.json()["code"]) == (410, "lease_lost")
    assert late.beat(trial).json()["code"] == "lease_lost"
    assert late.state()["stage"] == "full"
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.lease).where(schema.lease.c.state == "lost")) == 1


def test_every_sample_reaches_its_number_and_no_more(build_study, open_app):
    study = build_study(raters_per_sample=3)
    database, new = open_app(study)
    finished = 0
    for _ in range(20):
        rater = new()
        if rater.start()["stage"] == "full":
            break
        assert rater.rate_all()["stage"] == "done"
        finished += 1
    assert finished == 3 * 9 // 3
    with database.read() as connection:
        quotas = leases.page_quotas(connection, database, study, 0.0)
        assert {quota.valid for quota in quotas} == {3}
        rows = connection.execute(
            select(schema.trial.c.rater_id, schema.page.c.item).join(
                schema.page, schema.page.c.id == schema.trial.c.page_id
            )
        ).all()
        assert len(rows) == len(set(rows))  # nobody met an item twice


def test_leases_count_as_taken_until_they_expire(build_study, open_app):
    study = build_study(raters_per_sample=1)
    database, new = open_app(study)
    waiting = [new() for _ in range(9)]
    for rater in waiting:
        assert rater.beat(rater.start()["trial"]).status_code == 200
    late = new()
    assert late.start()["stage"] == "full"
    with database.write() as connection:
        connection.execute(update(schema.lease).where(schema.lease.c.rater_id == 1).values(expires_at=1.0))
    assert late.state()["stage"] == "trial"


def test_after_screening_the_missing_places_open_again(build_study, open_app):
    study = build_study(raters_per_sample=2, screening="[{step: hidden_reference}]")
    database, new = open_app(study)
    # Careless: everything at 50, so the hidden reference too.
    for careless in (True, False, False, False, False, False):
        rater = new()
        rater.start()
        rater.rate_all(lambda *_, value=50 if careless else 95: value)
    late = new()
    assert late.start()["stage"] == "full"
    with database.write() as connection:
        excluded = interim_screening.screen(connection, database, study)
        assert [entry["step"] for entry in excluded] == ["hidden_reference"]
        assert interim_screening.screen(connection, database, study) == []
    assert late.state()["stage"] == "trial"
    assert late.rate_all(lambda *_: 95)["done"] == 3
    with database.read() as connection:
        assert {quota.valid for quota in leases.page_quotas(connection, database, study, 0.0)} == {2}


def test_a_reload_shows_the_same_page(one):
    rater, trial, _ = one
    assert rater.state()["trial"] == trial
    assert rater.state()["trial"] == trial


def test_order_is_random_and_recorded(build_study, open_app):
    database, new = open_app(build_study(raters_per_sample=50))
    for _ in range(12):
        rater = new()
        rater.start()
        rater.rate_all()
    with database.read() as connection:
        rows = connection.execute(
            select(schema.listening.c.slot, schema.clip.c.name)
            .join(schema.clip, schema.clip.c.id == schema.listening.c.clip_id)
            .join(schema.trial, schema.trial.c.id == schema.listening.c.trial_id)
            .where(schema.listening.c.value.is_not(None))
        ).all()
        positions = set(connection.execute(select(schema.trial.c.position)).scalars())
    columns = {}
    for slot, name in rows:
        columns.setdefault(name, set()).add(slot)
    assert positions == {0, 1, 2}
    assert sum(len(slots) > 1 for slots in columns.values()) > len(columns) / 2


def test_the_hidden_reference_cannot_be_told_by_its_file(build_study, open_app):
    _, new = open_app(build_study())
    rater = new()
    state = rater.start()
    while state["trial"]["question"] != "OVL":
        rater.submit(state["trial"])
        state = rater.state()
    trial = state["trial"]
    tokens = [trial["reference"]["token"], *(clip["token"] for clip in trial["clips"])]
    assert len(set(tokens)) == 6
    answers = [rater.http.get(f"/audio/{token}") for token in tokens]
    sizes = {len(response.content) for response in answers}
    assert len(sizes) == 6
    # Whatever the sizes on disk: the largest file, and padding.
    assert max(sizes) - min(sizes) < file_padding.MAX_PADDING
    assert not any("etag" in response.headers for response in answers)


def test_padding_keeps_the_sound(build_study):
    import io

    import numpy as np
    import soundfile

    study = build_study()
    clip = next(iter(study.clips.values()))
    for name, pad in ((clip.lossless, file_padding.pad_flac), (clip.compressed, file_padding.pad_mp3)):
        data = study.audio_file(name).read_bytes()
        longer = b"".join(pad(data, 777))
        plain, padded = (soundfile.read(io.BytesIO(content))[0] for content in (data, longer))
        assert len(longer) > len(data) + 777
        np.testing.assert_array_equal(plain, padded)


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fmanifest.json",
        "%2e%2e/secret.key",
        "../../etc/passwd",
        "....//study.db",
        "0" * 32,
        "x" * 5000,
        "%00",
        "*",
    ],
)
def test_guessed_tokens_and_paths_are_nobodys_audio(one, path):
    rater, _, _ = one
    response = rater.http.get(f"/audio/{path}")
    assert response.status_code == 404
    assert b"fLaC" not in response.content


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/texts/..%2fen"]
)
def test_static_files_are_only_static_files(one, path):
    response = one[0].http.get(path)
    assert response.status_code == 404
    assert "create_app" not in response.text


def test_bodies_are_limited(one):
    rater, trial, _ = one
    big = b'{"key": "' + b"a" * 10_000_000 + b'"}'
    headers = {"X-CSRF-Token": rater.csrf, "Content-Type": "application/json"}
    assert rater.http.post(f"/api/trials/{trial['lease']}", content=big, headers=headers).status_code == 413

    def pieces():
        for _ in range(10):
            yield b"a" * 10_000

    assert rater.http.post(f"/api/trials/{trial['lease']}", content=pieces(), headers=headers).status_code == 413
    assert security.MAX_BODY_BYTES < 100_000


def test_forged_requests_are_refused(one):
    rater, trial, database = one
    body = answer(trial)
    for headers, code in (
        ({"X-CSRF-Token": ""}, "forgery"),
        ({"X-CSRF-Token": "0" * 64}, "forgery"),
        ({"Origin": "https://evil.example"}, "other_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "other_origin"),
    ):
        response = rater.post(f"/api/trials/{trial['lease']}", body, **headers)
        assert (response.status_code, response.json()["code"]) == (403, code)
    form = rater.http.post("/api/consent", content="agreed=true", headers={"Content-Type": "text/plain"})
    assert form.status_code in (415, 422)
    assert rater.http.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert stored(database) == (0, 0)


@pytest.mark.parametrize("path", ["/", "/static/study.js", "/api/state", "/nowhere", "/admin", "/audio/x"])
def test_every_answer_carries_the_headers(one, path):
    headers = one[0].http.get(path).headers
    policy = headers["content-security-policy"]
    assert "'unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_script_and_escapes_the_title(one):
    page = one[0].http.get("/").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "Listening &lt;b&gt;test" in page
    assert "<b>test" not in page
    cookie = one[0].http.cookies.jar
    assert all(c.has_nonstandard_attr("HttpOnly") for c in cookie)


def test_invitations(build_study, open_app):
    study = build_study(open_link="false")
    database, new = open_app(study)
    with database.write() as connection:
        code = raters.invite(connection, database, "=HYPERLINK(1)")
    stranger = new()
    assert stranger.enter().json()["code"] == "no_code"
    for guess in ("aaaaaaaaaaaa", "<script>alert(1)</script>", "' OR '1'='1", code[:-1]):
        assert stranger.enter(code=guess).json()["code"] == "bad_code"
    first = new()
    trial = first.start(code=f" {code.upper()} ")["trial"]
    # The same person on another machine goes on, and the first session ends.
    second = new()
    assert second.enter(code=code).status_code == 200
    assert second.state()["trial"] == trial
    assert first.state()["code"] == "no_session"
    # The same browser keeps its session: a second tab does not end the first.
    csrf = second.csrf
    second.enter(code=code)
    assert second.csrf == csrf


def test_nothing_is_taken_before_its_turn(build_study, open_app):
    """By requests of one's own, past the page: no answer is stored before consent, none about the study before its pages."""
    asked = "{before: [age], after: [experience]}"
    database, new = open_app(build_study(headphone_check="record", questionnaire=asked))
    rater = new()
    rater.enter()
    before, after = {"answers": {"age": 30}}, {"answers": {"experience": "none"}}
    tried = [
        ("/api/headphones", {"answers": [1] * 6}), ("/api/questionnaires/before", before), ("/api/questionnaires/after", after),
    ]  # fmt: skip

    def codes(requests):
        return [rater.post(path, body).json().get("code") for path, body in requests]

    assert codes(tried) == ["too_early"] * 3
    with database.read() as connection:
        assert connection.execute(select(schema.rater.c.headphone_score)).scalar_one() is None
    assert rater.post("/api/consent", {"agreed": True}).status_code == 200
    assert codes(tried[1:]) == ["too_early"] * 2
    assert codes(tried[:1]) == [None]
    assert codes(tried[2:]) == ["too_early"]
    assert codes(tried[1:2]) == [None]
    assert codes(tried[2:]) == ["too_early"]
    assert rater.state()["stage"] == "trial"
    assert rater.rate_all()["place"] == "after"
    assert rater.fill_in(rater.state()).status_code == 200
    assert rater.state()["stage"] == "done"


def test_failed_headphones(build_study, open_app):
    study = build_study(headphone_check="require")
    database, new = open_app(study)
    rater = new()
    rater.start()
    first = rater.state()
    assert rater.post("/api/headphones", {"answers": [1] * 6}).json()["passed"] is False
    second = rater.state()
    assert second["tries_left"] == 1
    assert set(first["clips"]).isdisjoint(second["clips"])
    rater.post("/api/headphones", {"answers": [1] * 6})
    assert rater.state()["stage"] == "not_eligible"
    assert rater.post("/api/headphones", {"answers": [1] * 6}).json()["code"] == "headphones_done"
    with database.read() as connection:
        assert "2 of 6 right" in connection.execute(select(schema.rater.c.excluded_for)).scalar_one()


def test_right_headphone_answers_pass(build_study, open_app):
    study = build_study(headphone_check="require")
    database, new = open_app(study)
    rater = new()
    rater.start()
    with database.read() as connection:
        row = connection.execute(select(schema.rater)).one()
    assert rater.post(
        "/api/headphones", {"answers": [clip.answer for clip in headphone_check.clip_order(study, row)]}
    ).json()["passed"]
    assert rater.state()["stage"] == "trial"


def test_a_zero_byte_is_no_error_of_the_database(one):
    rater, trial, _ = one
    assert rater.post("/api/trials/%00", answer(trial)).status_code == 422
    assert rater.enter(code="%00\0").status_code == 403
    assert rater.http.get("/audio/a", cookies={"study_session": "\0"}).status_code in (401, 404)


def test_too_early(build_study, open_app):
    _, new = open_app(build_study())
    rater = new()
    rater.enter()
    assert (
        rater.post("/api/trials/" + "0" * 32, {"key": "0" * 16, "values": {}, "heard": {}}).json()["code"]
        == "too_early"
    )


def test_attention_checks_are_marked(build_study, open_app):
    study = build_study(attention_checks=3)
    database, new = open_app(study)
    rater = new()
    rater.start()
    rater.rate_all(lambda *_: 82)
    with database.read() as connection:
        rows = connection.execute(
            select(schema.trial.c.check_passed, schema.page.c.key).join(
                schema.page, schema.page.c.id == schema.trial.c.page_id
            )
        ).all()
    checks = {key: passed for passed, key in rows if passed is not None}
    assert checks == {"check 30": False, "check 50": False, "check 80": True}


def test_files_of_attention_checks_do_not_tell_their_answer(build_study, open_app):
    """Length and size are those of every check; the beeps are there to be counted."""
    study = build_study(attention_checks=3)
    database, new = open_app(study)
    rater = new()
    state = rater.start()
    lengths, seconds, sizes = set(), set(), {"": set(), "?compressed=true": set()}
    counts = []
    while state["stage"] == "trial":
        trial = state["trial"]
        if trial["kind"] == "attention":
            clip = trial["clips"][0]
            seconds.add(clip["seconds"])
            for query, found in sizes.items():
                data = rater.http.get(f"/audio/{clip['token']}{query}").content
                found.add(len(data) - int(database.keyed("padding", clip["token"])[:8], 16) % file_padding.MAX_PADDING)
                if not query:
                    wave, rate = soundfile.read(io.BytesIO(data))
            lengths.add(len(wave))
            loud = (
                np.abs(wave).reshape(-1)[: len(wave) // (rate // 100) * (rate // 100)].reshape(-1, rate // 100).max(1)
                > 0.05
            )
            counts.append(int((np.diff(loud.astype(int)) == 1).sum()))
        assert rater.submit(trial).status_code == 200
        state = rater.state()
    assert (len(lengths), len(seconds)) == (1, 1)
    assert all(len(found) == 1 for found in sizes.values())
    assert sorted(counts) == [3, 5, 8]


def test_deleting_a_rater_leaves_nothing(build_study, open_app):
    study = build_study()
    database, new = open_app(study)
    rater = new()
    rater.enter(prolific_pid="5f0c", study_id="s1", session_id="sub1")
    rater.post("/api/consent", {"agreed": True})
    rater.rate_all()
    with database.write() as connection:
        assert raters.delete_rater(connection, database, "somebody else") == 0
        assert raters.delete_rater(connection, database, "5f0c") == 1
    with database.read() as connection:
        for table in (schema.rater, schema.payment, schema.lease, schema.token, schema.trial, schema.listening):
            assert queries.count_rows(connection, select(table)) == 0, table.name


def test_worker_ids_live_in_payment_alone_and_expire(build_study, open_app):
    study = build_study()
    database, new = open_app(study)
    rater = new()
    rater.enter(prolific_pid="worker5f0c", study_id="s1", session_id="sub1")
    rater.post("/api/consent", {"agreed": True})
    rater.rate_all()
    with database.read() as connection:
        for name, table in schema.metadata.tables.items():
            text = repr(connection.execute(select(table)).all())
            assert ("worker5f0c" in text) == (name == "payment")
    with database.write() as connection:
        assert raters.delete_expired_worker_ids(connection, database, 1) == 0
        connection.execute(update(schema.payment).values(created_at=1.0))
        assert raters.delete_expired_worker_ids(connection, database, 1) == 1
        assert queries.count_rows(connection, select(schema.trial)) == 3
    again = new()
    assert again.enter(prolific_pid="worker5f0c", study_id="s1", session_id="sub2").json()["code"] == "other_browser"
    rater.enter(prolific_pid="worker5f0c", study_id="s1", session_id="sub2")
    assert rater.state()["stage"] == "done"  # still the same person


def test_prolific_raters_get_the_code_after_the_last_commit(build_study, open_app):
    _, new = open_app(build_study())
    rater = new()
    rater.enter(prolific_pid="5f0c", study_id="s1", session_id="sub1")
    rater.post("/api/consent", {"agreed": True})
    state = rater.state()
    while state["stage"] == "trial":
        assert "C0DE" not in json.dumps(state)
        assert "C0DE" not in rater.submit(state["trial"]).text
        state = rater.state()
    assert state["completion_url"] == "https://app.prolific.com/submissions/complete?cc=C0DE-42"
    assert "C0DE" not in rater.http.get("/").text
    for bad in ("a b", "<script>", "x" * 100, "../x"):
        assert new().enter(prolific_pid=bad, study_id="s", session_id="t").status_code == 422


def test_preferences(build_study, open_app):
    text = "\n".join(
        ["name: ab", "systems: {bright: samples/bright, dull: samples/dull}", "trials_per_rater: 3", "open_link: true",
         "clock: false", "practice: false", "attention_checks: 0", 'headphone_check: "off"', "languages: [en]",
         "questions: [{name: which, method: ab, text: {en: 'Which one is better?'}}]"]
    )  # fmt: skip
    study = build_study(text)
    database, new = open_app(study)
    rater = new()
    trial = rater.start()["trial"]
    assert rater.submit(trial, answer(trial) | {"preferred": "0" * 32}).json()["code"] == "foreign_stimulus"
    assert (
        rater.submit(trial, {k: v for k, v in answer(trial).items() if k != "preferred"}).json()["code"]
        == "foreign_stimulus"
    )
    assert (
        rater.submit(trial, answer(trial) | {"values": {trial["clips"][0]["token"]: 5}}).json()["code"] == "bad_values"
    )
    assert rater.submit(trial, answer(trial) | {"preferred": ""}).status_code == 200
    rater.rate_all()
    with database.read() as connection:
        preferred = connection.execute(select(schema.trial.c.preferred_clip_id)).scalars().all()
    assert sorted(p is None for p in preferred) == [False, False, True]


def test_admin(build_study, open_app):
    study = build_study(raters_per_sample=2)
    _, new = open_app(study)
    rater = new()
    rater.start(code=None)
    rater.rate_all(lambda *_: 40)
    admin = new()
    for path in ("progress", "export/ratings.csv"):
        assert admin.http.get(f"/admin/api/{path}").status_code == 401
    assert admin.post("/admin/api/pause", {"paused": True}).status_code == 401
    assert admin.post("/admin/api/login", {"token": "wrong"}).status_code == 403
    token = (study.path / manifest.ADMIN_TOKEN).read_text()
    assert admin.post("/admin/api/login", {"token": token}).status_code == 200
    state = admin.http.get("/admin/api/progress").json()
    assert state["trials"] == 3
    assert sum(page["valid"] for page in state["pages"]) == 3
    assert "median page" in state["raters"][0]["flags"][0]
    assert admin.post("/admin/api/pause", {"paused": True}).json()["code"] == "forgery"
    admin.csrf = state["csrf"]
    assert admin.post("/admin/api/pause", {"paused": True}).status_code == 200
    waiting = new()
    assert waiting.start()["stage"] == "paused"
    assert rater.state()["stage"] == "done"
    admin.post("/admin/api/pause", {"paused": False})
    assert waiting.state()["stage"] == "trial"
    name = state["raters"][0]["rater"]
    admin.post("/admin/api/exclude", {"rater": name, "excluded": True})
    assert sum(page["valid"] for page in admin.http.get("/admin/api/progress").json()["pages"]) == 0
    admin.post("/admin/api/exclude", {"rater": name, "excluded": False})
    assert admin.post("/admin/api/exclude", {"rater": "0" * 16, "excluded": True}).status_code == 404
    assert len(admin.post("/admin/api/screen", {}).json()["excluded"]) == 1
    assert "rater,question,item" in admin.http.get("/admin/api/export/ratings.csv").text
    assert admin.http.get("/admin/api/export/payment.csv").status_code == 404


def test_a_crowd_that_rates_nothing_hides_nothing_on_the_admin_page(build_study, open_app, monkeypatch):
    """A script that opens the study: the page stays as short, and says how many there were."""
    monkeypatch.setattr(admin_overview, "MAX_IDLE", 5)
    study = build_study()
    _, new = open_app(study)
    rater, crowd, admin = new(), new(), new()
    rater.start()
    rater.rate_all()
    admin.post("/admin/api/login", {"token": (study.path / manifest.ADMIN_TOKEN).read_text()})
    admin.csrf = admin.http.get("/admin/api/progress").json()["csrf"]
    admin.post("/admin/api/pause", {"paused": False})
    for _ in range(60):
        assert crowd.enter().status_code == 200
    state = admin.http.get("/admin/api/progress").json()
    assert (state["entered"], len(state["raters"])) == (61, 6)
    assert [one["trials"] for one in state["raters"]] == [3, 0, 0, 0, 0, 0]
    assert [one["kind"] for one in state["events"]] == ["resumed"]
    assert admin.http.get("/admin/api/export/raters.csv").text.count("\n") == 62
