"""Without the packages of an extra, what needs them names the extra and ends with 3; everything else works."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import extras
from app.errors import ExitCode
from app.extras import build_missing_package_error
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.program import write_profile

ROOT = Path(__file__).parents[2]
WITHOUT = """
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {"PySide6", "pyqtgraph", "onnx", "onnxruntime", "numba", "altair", "vl_convert"}:
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""
"""What Python runs at its start, as `sitecustomize`: the packages of the extras are not found, in no process."""


def test_each_package_belongs_to_an_extra_that_installs_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for package, extra in extras._EXTRAS.items():
        installed = " ".join(project["optional-dependencies"][extra]).lower()
        assert package.lower().replace("_", "-") in installed
        assert not any(package.lower() in dependency.lower() for dependency in project["dependencies"])


def test_missing_module_of_the_product_has_no_install_hint() -> None:
    assert build_missing_package_error(ModuleNotFoundError("no app.x", name="app.x")) is None


@pytest.fixture
def base(tmp_path: Path, calibrated_home: Path) -> dict[str, str]:
    """The environment of a process that has the base installation alone."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT)
    return {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "SIZEWISE_HOME": str(calibrated_home), "PATH": "/usr/bin:/bin"}


def ran(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("gui",), "PySide6", "gui"),
        pytest.param(("serve", "digits"), "onnx", "local", marks=pytest.mark.soak),
        (("plan", "last"), "numba", "plan"),
        pytest.param(("simulate", "plan.yaml"), "numba", "plan", marks=pytest.mark.soak),
        (("run", "local-model"), "onnx", "local"),
        pytest.param(("run", "quickstart"), "onnx", "local", marks=pytest.mark.soak),
        pytest.param(("quickstart",), "onnx", "local", marks=pytest.mark.soak),
    ],
)
def test_command_without_its_extra_reports_the_install_command(
    base: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], package: str, extra: str
) -> None:
    more = ("--out", str(tmp_path / "run")) if arguments[0] == "run" else ()
    done = ran(base, *arguments, *more)
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    assert f"requires the package {package}" in done.stderr
    assert f'pip install "sizewise[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_endpoint_run_without_extras_writes_all_reports_except_html(base: dict[str, str], tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server:
        done = ran(base, "run", write_profile(tmp_path, server.url), "--out", str(tmp_path / "run"))
    assert done.returncode in (ExitCode.OK, ExitCode.INVALID), done.stderr
    assert 'pip install "sizewise[report]"' in done.stderr
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert "report.html" not in written
    assert {"result.json", "report.json", "summary.md", "junit.xml", "metrics.prom", "checksums.txt"} <= written
    rendered = ran(base, "report", str(tmp_path / "run"))
    assert rendered.returncode == ExitCode.UNAVAILABLE, rendered.stderr
    assert 'pip install "sizewise[report]"' in rendered.stderr


@pytest.mark.process
def test_profile_with_traffic_is_refused_before_its_load_without_the_extra_plan(
    base: dict[str, str], tmp_path: Path
) -> None:
    with ScriptedServer(Script()) as server:
        profile = write_profile(tmp_path, server.url, extra="traffic: {peak: 9/s}")
        done = ran(base, "run", profile, "--out", str(tmp_path / "run"))
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    assert 'pip install "sizewise[plan]"' in done.stderr
    assert not (tmp_path / "run").exists()
