"""Load workers as the engine starts them, for the tests of their times."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from loadgen import child
from tests.fakes.forked import forking
from tests.tiers import Tier


@pytest.fixture(scope="session", autouse=True)
def load_workers_are_real_where_times_are_asserted(
    request: pytest.FixtureRequest, load_workers_are_forked: None
) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr == Tier.TIMING:
            patch.setattr("loadgen.child.subprocess", subprocess)
        yield


@pytest.fixture(scope="module")
def workers_are_forked(load_workers_are_real_where_times_are_asserted: None) -> Iterator[None]:
    """Fork load workers and their master nevertheless, for tests that assert how soon they notice or end, not when they
    send: the import that they are spared is before all that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.child.subprocess", forking(child))
        yield
