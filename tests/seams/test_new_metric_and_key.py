"""A metric that is shown as a column takes three files, a profile key of a stage four; all outputs follow from them.

The files are edited in a copy of the program, which is then used as a user does.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.program import FAKE_RENDERER_FOLDER, write_profile

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
METRIC = {
    "app/records/metrics.py": [
        (
            "_CATALOG = (\n",
            '    Metric("toy_ms", "ms", "lower", DISTRIBUTION_AGGREGATES, "time that a toy takes", ("scheduled",)),\n',
        )
    ],
    "app/analysis/spans.py": [
        (
            "_DURATION_FUNCTIONS: dict[str, Callable[[StageRows], Floats]] = {\n",
            '    "toy_ms": lambda rows: 2 * _compute_elapsed_ms(rows.scheduled_ns, rows.end_ns, rows.end_ns > 0),\n',
        )
    ],
    "reports/sections/stages.py": [
        ("    throughput: Quantity | None = None\n", "    toy: Quantity | None = None\n"),
        (
            '        Column("failed", "failed", gauge=("failed", "Failed requests")),\n',
            '        Column("toy", "mean toy", metric="toy_ms.mean", csv="toy_ms", gauge=("toy", "Mean toy"),\n'
            "                    read=lambda row: NOT_STORED if row.toy is None else row.toy),\n",
        ),
        *((start, "toy ") for start in ('"text": "stage | ', '"markdown": "stage | ', '"html": "stage | ')),
        *((start, "toy ") for start in ('"window": "stage | ', '"csv": "name | ', '"openmetrics": "name | ')),
    ],
}
PROFILE_KEY = {
    "app/profiles/load.py": [
        (
            '    """Number of times that the stage is run, such as 1."""\n',
            "    toys: Annotated[Count, upper_bound(1000)] | None = Field(default=None, examples=[7])\n"
            '    """Number of toys after which the stage ends, such as 7."""\n',
        )
    ],
    "loadgen/records.py": [("    max_requests: int | None = None\n", "    toys: int | None = None\n")],
    "app/wiring/stages.py": [("lead_in_s=stage.lead_in_s, ", "toys=stage.toys, ")],
    "loadgen/worker/traffic.py": [("plan.seed)[\n            : ", "load.toys or ")],
}
OUTPUTS = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
import msgspec
from PySide6.QtWidgets import QApplication
from app.gui.forms.form import ProfileForm
from app.gui.results.frames import build_section_frames
from docs.build import metrics, profile_keys
from reports.model import Report
from reports.sections.stages import STAGES
from reports.tables import build_tables
application = QApplication([])
report = msgspec.json.decode(open(sys.argv[1], "rb").read(), type=Report)
(frame,) = build_section_frames(STAGES, report)
form = ProfileForm()
form.show_tree({"target": {"protocol": "http"}, "load": {"stages": [{"rate": "10/s", "toys": 7}]}}, "http")
part = form.find_part(("load", "stages", 0, "toys"))
print(json.dumps({
    "headers": list(frame.headers.values()),
    "csv": build_tables(report)["stages"],
    "editor": type(part).__name__,
    "metrics": [line for line in metrics().splitlines() if "toy_ms" in line],
    "keys": [line for line in profile_keys().splitlines() if ".toys`" in line],
}))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with a toy metric and a toy key."""
    copy = tmp_path_factory.mktemp("program")
    for name in ("app", "loadgen", "reports", "profiles", "docs"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("sizewise.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    for path, insertions in {**METRIC, **PROFILE_KEY}.items():
        text = (copy / path).read_text()
        for anchor, addition in insertions:
            assert text.count(anchor) == 1, (path, anchor)
            text = text.replace(anchor, anchor + addition)
        (copy / path).write_text(text)
    return copy


def call(program: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(FAKE_RENDERER_FOLDER), str(program)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "SIZEWISE_HOME": str(home)}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=150, check=False)


@pytest.fixture(scope="module")
def run(program: Path, calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with both. Its stage would send 200 requests."""
    folder = tmp_path_factory.mktemp("run")
    with ScriptedServer(Script()) as server:
        profile = write_profile(folder, server.url, extra='gates: ["toy_ms.p50{stage=steady} > 100000"]')
        done = call(
            program,
            *("-m", "app", "run", profile, "--set", "load.stages.0.toys=7", "--out", str(folder / "run")),
            home=calibrated_home,
        )
    (folder / "stdout").write_text(done.stdout)
    assert done.returncode in (4, 10), done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def outputs(program: Path, run: Path) -> dict[str, Any]:
    done = call(program, "-c", OUTPUTS, str(run / "report.json"), home=run.parent)
    assert done.returncode == 0, done.stderr
    observations: dict[str, Any] = json.loads(done.stdout)
    return observations


def test_new_profile_key_reaches_the_worker(run: Path) -> None:
    (stage,) = json.loads((run / "result.json").read_text())["stages"]
    assert stage["completed"] == 7


def test_new_metric_is_in_the_result_and_in_gates(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    (stage,) = result["stages"]
    toy, latency = (stage["metrics"][name]["mean"]["value"] for name in ("toy_ms", "latency_ms"))
    assert toy == pytest.approx(2 * latency)
    (gate,) = (item for item in result["gates"] if item["objective"]["metric"] == "toy_ms")
    assert gate["outcome"] != "PASS"


def test_new_metric_is_a_column_of_every_output(run: Path, outputs: dict[str, Any]) -> None:
    (stage,) = json.loads((run / "result.json").read_text())["stages"]
    toy = stage["metrics"]["toy_ms"]["mean"]["value"]
    assert "mean toy" in (run.parent / "stdout").read_text()
    assert "| mean toy |" in (run / "summary.md").read_text()
    assert ">mean toy<" in (run / "report.html").read_text()
    (cells,) = csv.DictReader(io.StringIO(outputs["csv"]))
    assert float(cells["toy_ms"]) == pytest.approx(toy)
    assert "Mean toy" in outputs["headers"]
    assert 'sizewise_stage_toy{stage="steady"' in (run / "metrics.prom").read_text()
    assert json.loads((run / "report.json").read_text())["stages"][0]["toy"]["value"] == pytest.approx(toy)


def test_new_metric_and_key_are_in_the_form_and_the_documentation(outputs: dict[str, Any]) -> None:
    assert outputs["editor"] == "FieldRow"
    (metric,), (key,) = outputs["metrics"], outputs["keys"]
    assert metric.startswith("| `toy_ms` | ms | Time that a toy takes; lower is better. ")
    assert key.startswith("| `load.stages.*.toys` | Number of toys after which the stage ends, such as 7.")


def test_new_key_is_in_the_list_of_keys_and_is_checked(program: Path, run: Path) -> None:
    keys = call(program, "-m", "app", "profiles", "keys", "http", home=run.parent)
    assert "load.stages.*.toys  (at least 1, at most 1,000)" in keys.stdout
    bad = ("run", str(run.parent / "profile.yaml"), "--set", "load.stages.0.toys=0")
    done = call(program, "-m", "app", *bad, home=run.parent)
    assert (done.returncode, "load.stages.0.toys" in done.stderr) == (2, True)
