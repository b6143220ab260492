from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.program import Sizewise, write_profile


@pytest.fixture
def sizewise(calibrated_home: Path, tmp_path: Path) -> Sizewise:
    return Sizewise(calibrated_home, tmp_path)


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Writes a profile for a URL: `profile(url, rate=..., duration=..., extra=...)`."""
    return partial(write_profile, tmp_path)
