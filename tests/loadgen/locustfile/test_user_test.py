from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

os.environ.setdefault("LOCUST_SKIP_MONKEY_PATCH", "1")  # Locust must not patch the process of the tests.

from loadgen.locustfile.user_test import load_locust_test
from loadgen.protocols.prepared import WorkloadError
from loadgen.records import Endpoint
from loadgen.workloads import LocustWorkload

USERS = """from locust import FastHttpUser, HttpUser
class Reader(HttpUser): ...
class Writer(FastHttpUser): ...
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import locust\n", "test_of_mine.py has no user class"),
        ("def broken(:\n", "test_of_mine.py, line 1: invalid syntax"),
        (
            "import no_such_module_here\n",
            "test_of_mine.py imports the module no_such_module_here, which is not installed",
        ),
        ("x = 1\nraise KeyError('why')\n", "test_of_mine.py, line 2: KeyError: 'why'"),
        ("import sys\nsys.exit(3)\n", "test_of_mine.py exits the process during import"),
    ],
)
def test_invalid_locust_file_is_rejected_with_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "test_of_mine.py"
    file.write_text(text)
    with pytest.raises(WorkloadError, match=f"^{re.escape(message)}$"):
        load_locust_test(LocustWorkload(str(file)), Endpoint(()))


def test_missing_locust_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.py"
    with pytest.raises(WorkloadError, match=f"^the Locust test {re.escape(str(file))} does not exist$"):
        load_locust_test(LocustWorkload(str(file)), Endpoint(()))


def test_unknown_user_class_is_rejected_with_available_classes(tmp_path: Path) -> None:
    file = tmp_path / "test_of_mine.py"
    file.write_text(USERS)
    with pytest.raises(WorkloadError, match="has no user class Nobody") as failed:
        load_locust_test(LocustWorkload(str(file), ("Nobody",)), Endpoint(()))
    assert failed.value.hint == "Use one of Reader, Writer."
