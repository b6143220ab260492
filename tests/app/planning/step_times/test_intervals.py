from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
def test_planner_does_not_import_scipy_stats() -> None:
    """The import takes more than half a second, which every plan would wait for."""
    code = "import sys, app.planning.fleets, app.planning.sizing.fleet_rate; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
