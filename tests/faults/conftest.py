"""What the tests of faults share: both worlds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_multisession.testing.verbs import Run, open_runner


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture
def run(mode: str) -> Iterator[Run | None]:
    """What runs a test's coroutines, in one event loop: None for the sync verbs."""
    run, close = open_runner(mode)
    yield run
    close()
