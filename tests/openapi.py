"""Requests to a server by its own OpenAPI description: those that it allows, and those that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def operations(description: dict[str, Any], left_out: Sequence[str] = ()) -> Iterator[APIOperation]:
    """The operations of an OpenAPI description.

    Args:
        description: the document.
        left_out: paths that are not called.
    """
    described = description | {
        "paths": {path: item for path, item in description["paths"].items() if path not in left_out}
    }
    for result in schemathesis.openapi.from_dict(described).get_all_operations():
        yield result.ok()


def call(
    operation: APIOperation, address: str, examples: int, check: Callable[[Case, schemathesis.Response], None],
    headers: dict[str, str] | None = None,
) -> int:  # fmt: skip
    """Send requests of an operation, half of which break its description.

    Args:
        operation: of a description.
        address: of the server.
        examples: requests of each kind.
        check: is given each request and its answer, and raises AssertionError where the answer is wrong.
        headers: of each request, besides those that are made up.

    Returns:
        The number of requests.
    """
    sent = 0
    for mode in MODES:

        @settings(
            max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            nonlocal sent
            try:
                answer = case.call(base_url=address, headers=headers, timeout=20, allow_redirects=False)
            except requests.exceptions.InvalidHeader:
                return  # no client can send it
            sent += 1
            check(case, answer)

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise
            # There is no request that breaks the description of an operation without arguments.
    return sent
