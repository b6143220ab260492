from __future__ import annotations

import subprocess
import sys

import pytest

from app.inference.memory import is_out_of_memory_message, read_peak_memory_bytes

pytestmark = pytest.mark.process

PROGRAM = """
from app.inference.memory import limit_memory
limit_memory({limit})
buffer = bytearray({size})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited only on Linux")
@pytest.mark.parametrize(("limit", "is_enough"), [("2**28", False), ("2**31", True), ("None", True)])
def test_allocation_above_the_memory_limit_fails(limit: str, is_enough: bool) -> None:
    program = PROGRAM.format(limit=limit, size="2**29")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode == 0) is is_enough
    assert (b"MemoryError" in done.stderr) is not is_enough


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has an OOM score")
def test_child_has_the_highest_oom_score() -> None:
    program = (
        "from app.inference.memory import limit_memory as l; l(None); print(open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() in (b"1000", b"0")  # 0 in containers that forbid it


def test_peak_memory_is_in_bytes() -> None:
    peak = read_peak_memory_bytes()
    assert peak is None if sys.platform == "win32" else peak is not None and 2**23 < peak < 2**40


@pytest.mark.parametrize(
    ("text", "is_out_of_memory"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("Traceback (most recent call last):\nMemoryError", True),
        ("OpenBLAS error: Memory allocation still failed after 10 retries, giving up.", True),
        ("libopenblas.so: failed to map segment from shared object", True),
        ("ZeroDivisionError: division by zero", False),
        ("the model rejects these inputs", False),
    ],
)
def test_out_of_memory_messages_are_recognized(text: str, is_out_of_memory: bool) -> None:
    assert is_out_of_memory_message(text) is is_out_of_memory
