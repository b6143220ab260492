"""Load workers as the engine starts them, for the tests of their times."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.tiers import Tier


@pytest.fixture(scope="session", autouse=True)
def load_workers_are_real_where_times_are_asserted(
    request: pytest.FixtureRequest, load_workers_are_forked: None
) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr == Tier.TIMING:
            patch.setattr("loadgen.child.subprocess", subprocess)
        yield
