from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).parent / "install-system-libraries"
BASH = shutil.which("bash") or "/bin/bash"
ON_LINUX = ("ip", "Xvfb", "xdotool", "desktop-file-validate", "appstreamcli")
NEEDED = ("chromium", "chromedriver", "cc", "zsh", "fish", *(ON_LINUX if sys.platform == "linux" else ()))


def program(folder: Path, name: str, text: str = "") -> None:
    (folder / name).write_text(f"#!{BASH}\n{text}\n")
    (folder / name).chmod(0o755)


def run_among(folder: Path) -> subprocess.CompletedProcess[str]:
    """The script on a system that has the programs in `folder` and no others."""
    return subprocess.run(
        [BASH, str(SCRIPT)], env={"PATH": str(folder)}, capture_output=True, text=True, timeout=30, check=False
    )


def test_nothing_is_installed_if_all_commands_exist(tmp_path: Path) -> None:
    for name in NEEDED:
        program(tmp_path, name)
    done = run_among(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_missing_commands_are_named_without_apt_get(tmp_path: Path) -> None:
    for name in NEEDED[2:]:
        program(tmp_path, name)
    done = run_among(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "The tests need these commands: chromium chromedriver. Install them with this system's own package manager.\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
def test_root_installs_packages_of_missing_commands(tmp_path: Path) -> None:
    for name in ("chromium", *NEEDED[3:]):
        program(tmp_path, name)
    program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/apt-calls')
    assert run_among(tmp_path).returncode == 0
    apt_calls = (tmp_path / "apt-calls").read_text().splitlines()
    assert apt_calls[1] == "install --yes --no-install-recommends chromium-driver gcc --quiet=2"


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root installs")
def test_qt_libraries_are_installed_with_xvfb(tmp_path: Path) -> None:
    for name in NEEDED:
        if name != "Xvfb":
            program(tmp_path, name)
    program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/apt-calls')
    assert run_among(tmp_path).returncode == 0
    apt_calls = (tmp_path / "apt-calls").read_text().splitlines()
    assert " xvfb libegl1 " in apt_calls[1]
    assert " libxcb-cursor0 " in apt_calls[1]


def test_script_uses_no_associative_arrays() -> None:
    assert "declare -A" not in SCRIPT.read_text()
