import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.machine import get_clock_id

pytestmark = pytest.mark.process

PRINT = "from loadgen.machine import get_clock_id; print(get_clock_id())"


def get_clock_id_of_new_process(*prefix: str) -> str:
    command = [*prefix, sys.executable, "-c", PRINT]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_processes_with_same_clock_have_same_clock_id() -> None:
    assert get_clock_id_of_new_process() == get_clock_id()


def test_other_time_namespace_has_other_clock_id() -> None:
    assert get_clock_id_of_new_process("unshare", "--time", "--fork", "--user") != get_clock_id()


def test_unreadable_clock_ids_are_distinct(tmp_path: Path) -> None:
    boot_id, namespace, missing = tmp_path / "boot_id", tmp_path / "time", tmp_path / "missing"
    boot_id.write_text("b")
    namespace.touch()
    assert "boot b" in get_clock_id(boot_id, namespace)
    assert len({get_clock_id(boot_id, missing), get_clock_id(missing, namespace), get_clock_id()}) == 3
