import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.machine import get_clock_id

pytestmark = pytest.mark.process

PRINT = "from loadgen.machine import get_clock_id; print(get_clock_id())"


def elsewhere(*before: str) -> str:
    command = [*before, sys.executable, "-c", PRINT]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_processes_of_one_clock_name_the_same_one() -> None:
    assert elsewhere() == get_clock_id()


def test_another_time_namespace_is_another_clock() -> None:
    assert elsewhere("unshare", "--time", "--fork", "--user") != get_clock_id()


def test_where_it_cannot_be_read_nobody_else_has_it(tmp_path: Path) -> None:
    boot_id, namespace, missing = tmp_path / "boot_id", tmp_path / "time", tmp_path / "missing"
    boot_id.write_text("b")
    namespace.touch()
    assert "boot b" in get_clock_id(boot_id, namespace)
    assert len({get_clock_id(boot_id, missing), get_clock_id(missing, namespace), get_clock_id()}) == 3
