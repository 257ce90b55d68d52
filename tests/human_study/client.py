"""A rater without a browser: the requests that the page sends, and honest answers."""

import secrets

from fastapi.testclient import TestClient

from human_study.web.load_test import complete_fields


class Rater:
    """One session. `values`: system name -> value is what the tests decide; systems are told apart by `names`."""

    def __init__(self, app, portal=None):
        self.http = TestClient(app, raise_server_exceptions=False)
        self.http.portal = portal
        self.csrf = ""

    def post(self, path, body, **headers):
        return self.http.post(path, json=body, headers={"X-CSRF-Token": self.csrf} | headers)

    def enter(self, **who):
        answer = self.post("/api/enter", who)
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    def start(self, **who):
        """Into the first page."""
        assert self.enter(**who).status_code == 200
        assert self.post("/api/consent", {"agreed": True}).status_code == 200
        return self.state()

    def state(self):
        return self.http.get("/api/state").json()

    def beat(self, trial):
        """The heartbeat of a page that is open."""
        return self.post(f"/api/leases/{trial['lease']}/renew", {})

    def submit(self, trial, body=None, **changes):
        return self.post(f"/api/trials/{trial['lease']}", (body or answer(trial)) | changes)

    def fill_in(self, state):
        """Answer every field of a questionnaire."""
        return self.post(f"/api/questionnaires/{state['place']}", {"answers": complete_fields(state)})

    def rate_all(self, value=lambda trial, _clip: sum(trial["scale"]) // 2):
        """Rate until the end; the last state."""
        state = self.state()
        while state["stage"] == "trial":
            response = self.submit(state["trial"], answer(state["trial"], value))
            assert response.status_code == 200, response.text
            state = self.state()
        return state


def answer(trial, value=lambda trial, _clip: sum(trial["scale"]) // 2):
    """A complete submission: everything heard, every clip rated by `value`."""
    tracks = trial["clips"] + ([trial["reference"]] if trial["reference"] else [])
    body = {"key": secrets.token_hex(16), "heard": {track["token"]: [[0, track["seconds"]]] for track in tracks}}
    if trial["answer"] in {"preference", "match"}:
        sure = {"confidence": 2} if trial["confidence"] else {}
        return body | {"preferred": trial["clips"][0]["token"]} | sure
    return body | {"values": {clip["token"]: value(trial, clip) for clip in trial["clips"]}}
