"""The logins of a page with a password, shared by all of its workers."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from ..workers import Workers


class Logins(MutableMapping[str, str]):
    """Token of a login -> user, as Gradio keeps it in a dict.

    Args:
        workers: that share it.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __getitem__(self, token: str) -> str:
        user = self._workers.login(token)
        if user is None:
            raise KeyError(token)
        return user

    def __setitem__(self, token: str, user: str) -> None:
        self._workers.log_in(token, user)

    def __delitem__(self, token: str) -> None:
        self._workers.log_out(token)

    def __iter__(self) -> Iterator[str]:
        return iter(self._workers.logins())

    def __len__(self) -> int:
        return len(self._workers.logins())


def share(app: Any, workers: Workers) -> None:
    """Let a login at one worker be one at all.

    Args:
        app: Gradio's application.
        workers: that share its logins.
    """
    app.tokens, app.cookie_id = Logins(workers), workers.cookie
