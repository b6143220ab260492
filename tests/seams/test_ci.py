"""The commands of the examples in docs/ci, as a runner starts them: no terminal, no display, an empty environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from app.storage.checksums import CHECKSUMS
from tests.fakes.program import SIZEWISE, until_valid

_CI = Path(__file__).parents[2] / "docs" / "ci"
Ran = tuple[Path, subprocess.CompletedProcess[str]]
_SHORT = ["--set", "load.stages.0.duration=2s", "--set", "load.stages.0.rate=400/s", "--set", "load.warmup=0s"]
_FILES = {"result.json", "summary.md", "report.html", "junit.xml", "metrics.prom", "report.json", CHECKSUMS}


def _from_github() -> list[str]:
    steps = yaml.safe_load((_CI / "github-actions.yml").read_text())["jobs"]["sizewise"]["steps"]
    return _only(step["run"] for step in steps if "run" in step)


def _from_gitlab() -> list[str]:
    job = yaml.safe_load((_CI / "gitlab-ci.yml").read_text())["benchmark"]
    return _only([*job["before_script"], *job["script"]])


def _only(lines: Any) -> list[str]:
    install, command = map(shlex.split, lines)
    assert install[:2] == ["pip", "install"], "pip install and one command"
    return command


def _from_dockerfile() -> list[str]:
    found = dict(re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", (_CI / "Dockerfile").read_text(), re.MULTILINE))
    return [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]


def _from_job() -> list[str]:
    """With its mounted folders in the current one."""
    _, job = yaml.safe_load_all((_CI / "job.yaml").read_text())
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    here = {"/profile/": "", "/results/$(POD_NAME)": "results"}
    return ["sizewise", *(_replaced(one, here) for one in arguments)]


def _replaced(text: str, by: dict[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text


class Runner:
    """A checkout with the example's profile, and what a runner gives to a step."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.summary, self._home = folder, folder / "step-summary", home
        shutil.copy(_CI / "benchmark.yaml", folder)

    def __call__(self, command: list[str], **given: str) -> subprocess.CompletedProcess[str]:
        assert command[0] == "sizewise"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "SIZEWISE_HOME": str(self._home)}
        environment |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return until_valid(
            lambda: subprocess.run(
                [SIZEWISE, *command[1:], *_SHORT], cwd=self.folder, env=environment | given, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=150, check=False, start_new_session=True,
            ),
            self.folder / "results",
        )  # fmt: skip


@pytest.fixture
def runner(tmp_path: Path, calibrated_home: Path) -> Runner:
    return Runner(tmp_path, calibrated_home)


@pytest.fixture(scope="module")
def ran(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """What a command left and told; one that several examples have is run once."""

    @cache
    def run(*command: str) -> Ran:
        runner = Runner(tmp_path_factory.mktemp("runner"), calibrated_home)
        return runner.folder / "results", runner(list(command), NO_COLOR="1", FORCE_COLOR="1")

    return run


@pytest.mark.timing  # the command passes only if its measurement does
@pytest.mark.parametrize("command", [_from_github, _from_gitlab, _from_dockerfile, _from_job])
def test_the_examples_command_leaves_every_file_whole(command: Any, ran: Callable[..., Ran]) -> None:
    results, done = ran(*command())
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "::" not in done.stderr, "annotations are for GitHub alone"
    assert done.stdout.startswith("PASS  scoring")
    assert {path.name for path in results.iterdir()} >= _FILES
    assert not list(results.rglob("*.part"))
    program = shutil.which("sha256sum")
    assert program is not None
    checked = subprocess.run([program, "-c", "--quiet", CHECKSUMS], cwd=results, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    named = {line.partition("  ")[2] for line in (results / CHECKSUMS).read_text().splitlines()}
    assert named == {path.name for path in results.iterdir() if path.is_file()} - {CHECKSUMS}


def test_on_github_a_failed_slo_is_10_with_an_annotation_at_its_line_and_a_summary(runner: Runner) -> None:
    profile = runner.folder / "benchmark.yaml"
    profile.write_text(profile.read_text().replace("latency_ms.p95 < 50", "latency_ms.p95 < 2"))
    line = profile.read_text().splitlines().index("  - latency_ms.p95 < 2") + 1
    done = runner(_from_github(), GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(runner.folder),
                  GITHUB_STEP_SUMMARY=str(runner.summary))  # fmt: skip
    assert done.returncode == 10, done.stderr
    commands = [one for one in done.stderr.splitlines() if one.startswith("::")]
    assert commands[0].startswith(
        f"::error file=benchmark.yaml,line={line},title=sizewise%3A SLO::latency_ms.p95 < 2: "
    )
    results = runner.folder / "results"
    summary = (results / "summary.md").read_text("utf-8")
    assert summary.startswith("## FAIL: scoring")
    assert runner.summary.read_text("utf-8").endswith(summary)
    suite = ElementTree.parse(results / "junit.xml").getroot()[0]
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed == ["verdict", "latency_ms.p95 < 2"]
