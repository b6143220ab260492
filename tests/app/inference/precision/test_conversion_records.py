from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

HOLDS = """
import mmap
from app.inference.precision.conversion_records import GIB, limit_memory
limit_memory({model})
mmap.mmap(-1, 4 * GIB)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_small_model_may_not_take_what_a_large_one_may() -> None:
    refused = subprocess.run([sys.executable, "-c", HOLDS.format(model=0)], capture_output=True, check=False)
    assert b"Cannot allocate memory" in refused.stderr
    subprocess.run([sys.executable, "-c", HOLDS.format(model="GIB // 4")], check=True)
