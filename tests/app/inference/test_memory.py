from __future__ import annotations

import subprocess
import sys

import pytest

from app.inference.memory import is_out_of_memory_message, read_peak_memory_bytes

pytestmark = pytest.mark.process

PROGRAM = """
from app.inference.memory import limit_memory
limit_memory({limit})
taken = bytearray({taken})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is limited")
@pytest.mark.parametrize(("limit", "is_enough"), [("2**28", False), ("2**31", True), ("None", True)])
def test_more_than_the_limit_is_not_to_be_had(limit: str, is_enough: bool) -> None:
    program = PROGRAM.format(limit=limit, taken="2**29")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode == 0) is is_enough
    assert (b"MemoryError" in done.stderr) is not is_enough


@pytest.mark.skipif(sys.platform != "linux", reason="only there is somebody chosen")
def test_child_is_the_first_to_go_where_the_machine_has_no_memory_left() -> None:
    program = (
        "from app.inference.memory import limit_memory as l; l(None); print(open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() in (b"1000", b"0")  # 0 where a container forbids it


def test_peak_is_in_bytes() -> None:
    peak = read_peak_memory_bytes()
    assert peak is None if sys.platform == "win32" else peak is not None and 2**23 < peak < 2**40


@pytest.mark.parametrize(
    ("text", "is_want"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("Traceback (most recent call last):\nMemoryError", True),
        ("OpenBLAS error: Memory allocation still failed after 10 retries, giving up.", True),
        ("libopenblas.so: failed to map segment from shared object", True),
        ("ZeroDivisionError: division by zero", False),
        ("the model rejects these inputs", False),
    ],
)
def test_want_of_memory_is_known_by_its_words(text: str, is_want: bool) -> None:
    assert is_out_of_memory_message(text) is is_want
