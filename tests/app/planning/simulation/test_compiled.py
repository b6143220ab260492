from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process


def test_planner_import_does_not_load_numba_and_simulation_import_does() -> None:
    code = "import sys, app.planning.fleets, app.records.service; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, app.planning.simulation.serving; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
