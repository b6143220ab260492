from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

ALLOCATE_4_GIB = """
import mmap
from app.inference.precision.conversion_records import GIB, limit_memory
limit_memory({model})
mmap.mmap(-1, 4 * GIB)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited only on Linux")
def test_memory_limit_grows_with_model_size() -> None:
    small_model = subprocess.run(
        [sys.executable, "-c", ALLOCATE_4_GIB.format(model=0)], capture_output=True, check=False
    )
    assert b"Cannot allocate memory" in small_model.stderr
    subprocess.run([sys.executable, "-c", ALLOCATE_4_GIB.format(model="GIB // 4")], check=True)
