"""Fixtures that decide whether load workers are forked or started as processes of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from loadgen import child
from tests.fakes.forked import forking
from tests.tiers import Tier


@pytest.fixture(scope="session", autouse=True)
def real_workers_in_timing_session(request: pytest.FixtureRequest, load_workers_are_forked: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr == Tier.TIMING:
            patch.setattr("loadgen.child.subprocess", subprocess)
        yield


@pytest.fixture(scope="module")
def forked_workers(real_workers_in_timing_session: None) -> Iterator[None]:
    """Fork load workers and their master in the timing tier, too, for tests that assert how soon they detect a loss or
    exit, not when they send: importing their modules, which forked ones need not do, precedes all of that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.child.subprocess", forking(child))
        yield
