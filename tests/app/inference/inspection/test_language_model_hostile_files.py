from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from app.errors import ExitCode, UsageError
from app.inference.inspection.language_model import estimate_header_bytes, read_language_model
from tests.fakes.hostile_language_models import REFUSED_LANGUAGE_MODELS

MAX_MEMORY_BYTES = 64 << 20


def read_like_child_process(path: Path) -> None:
    estimate_header_bytes(path)
    read_language_model(path)


@pytest.mark.parametrize("name", REFUSED_LANGUAGE_MODELS)
def test_hostile_language_model_is_rejected_within_memory_limit(name: str, tmp_path: Path) -> None:
    make, pattern = REFUSED_LANGUAGE_MODELS[name]
    folder = tmp_path / "model"
    folder.mkdir()
    path = make(folder)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=pattern) as error:
            read_like_child_process(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.value.exit_code == ExitCode.USAGE
    assert error.value.hint
    assert not re.search(r"[\n\x1b]", str(error.value))
    assert peak_bytes < MAX_MEMORY_BYTES
