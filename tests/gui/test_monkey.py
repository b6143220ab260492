"""Thousands of random actions in one window must not cause an exception, a Qt warning, a hang or a leak."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.monkey import LOG

_ACTIONS, _MAX_S, _SHOWN_ACTIONS = 5000, 3000.0, 50
_LOOPBACK_ONLY = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Runs the command in a network namespace that has only the loopback interface."""


@pytest.mark.process
@pytest.mark.soak
@pytest.mark.timeout(_MAX_S + 60)
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("ip"), reason="network namespaces are Linux's")
def test_random_user_actions_cause_no_error(tmp_path: Path) -> None:
    seed = int(os.environ.get("MONKEY_SEED") or secrets.randbelow(10**6))
    command = (sys.executable, "-m", "tests.fakes.monkey", str(tmp_path), f"--seed={seed}", f"--actions={_ACTIONS}")
    with (tmp_path / "output.txt").open("w+") as output:
        with subprocess.Popen((*_LOOPBACK_ONLY, *command), stdout=output, stderr=output) as process:
            try:
                code: int | None = process.wait(_MAX_S)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                process.kill()
        output.seek(0)
        output_text = output.read()
    last_actions = (tmp_path / LOG).read_text().splitlines()[-_SHOWN_ACTIONS:] if code != 0 else ()
    assert code == 0, "\n".join(
        (f"seed {seed}, exit code {code}; its last actions:", *last_actions, output_text[-20_000:])
    )
    print(output_text)
