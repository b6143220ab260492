"""What holds for every process of Sizewise from its start."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform == "win32", reason="there are no core dumps")]

CODE = """
import contextlib, resource, sys
from app.__main__ import main
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
sys.argv = ["sizewise", "--version"]
with contextlib.suppress(SystemExit):
    main()
print(resource.getrlimit(resource.RLIMIT_CORE) == (0, hard))
"""


def test_core_dumps_are_disabled() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"
