"""The commands of the examples in docs/ci, as a runner starts them: no terminal, no display, an empty environment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from app.storage.checksums import CHECKSUMS
from tests.fakes.forked import ForkedProcess
from tests.fakes.program import FAKE_RENDERER_FOLDER, SIZEWISE, until_valid

pytestmark = pytest.mark.process

_ROOT = Path(__file__).parents[2]
_CI = _ROOT / "docs" / "ci"
CommandRun = tuple[Path, subprocess.CompletedProcess[str]]
_SHORT = ["--set", "load.stages.0.duration=2s", "--set", "load.stages.0.rate=400/s", "--set", "load.warmup=0s"]
_FILES = {"result.json", "summary.md", "report.html", "junit.xml", "metrics.prom", "report.json", CHECKSUMS}


def _from_github() -> list[str]:
    steps = yaml.safe_load((_CI / "github-actions.yml").read_text())["jobs"]["sizewise"]["steps"]
    return _run_of(step["run"] for step in steps if "run" in step)


def _from_gitlab() -> list[str]:
    return _run_of(yaml.safe_load((_CI / "gitlab-ci.yml").read_text())["benchmark"]["script"])


def _run_of(lines: Iterable[str]) -> list[str]:
    (command,) = (words for words in map(shlex.split, lines) if words[:2] == ["sizewise", "run"])
    return command


def _from_job() -> list[str]:
    """The command of the Kubernetes job, with its mounted folders in the current folder."""
    _, job = yaml.safe_load_all((_CI / "job.yaml").read_text())
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    here = {"/profile/": "", "/results/$(POD_NAME)": "results"}
    return ["sizewise", *(_replace_all(argument, here) for argument in arguments)]


def _replace_all(text: str, by: dict[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text


class Runner:
    """A checkout with the example's profile, and the environment of a step in a CI runner."""

    def __init__(self, folder: Path, home: Path, process: type[subprocess.Popen[str]] = subprocess.Popen) -> None:
        self.folder, self.summary, self._home, self._process = folder, folder / "step-summary", home, process
        shutil.copy(_CI / "benchmark.yaml", folder)

    def __call__(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        assert command[0] == "sizewise"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "SIZEWISE_HOME": str(self._home)}
        paths = [str(FAKE_RENDERER_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(paths)}

        def run() -> subprocess.CompletedProcess[str]:
            with self._process(
                [SIZEWISE, *command[1:], *_SHORT], cwd=self.folder, env=environment | variables,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            ) as process:  # fmt: skip
                stdout, stderr = process.communicate(timeout=150)
            return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

        return until_valid(run, self.folder / "results", until_conclusive=True)


@pytest.fixture
def runner(tmp_path: Path, calibrated_home: Path) -> Runner:
    """A runner with a forked command; the commands of the examples start as a CI runner starts them."""
    return Runner(tmp_path, calibrated_home, ForkedProcess if sys.platform == "linux" else subprocess.Popen)


@pytest.fixture(scope="module")
def run_command(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CommandRun]:
    """Results folder and output of a command; a command that several examples have is run once."""

    @cache
    def run(*command: str) -> CommandRun:
        runner = Runner(tmp_path_factory.mktemp("runner"), calibrated_home)
        return runner.folder / "results", runner(list(command), NO_COLOR="1", FORCE_COLOR="1")

    return run


@pytest.mark.timing  # the command passes only if its measurement does
@pytest.mark.parametrize("command", [_from_github, _from_gitlab, _from_job])
def test_example_command_writes_complete_files(command: Any, run_command: Callable[..., CommandRun]) -> None:
    results, done = run_command(*command())
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


def test_failed_slo_on_github_exits_with_10_and_annotates_its_line(runner: Runner) -> None:
    profile = runner.folder / "benchmark.yaml"
    profile.write_text(profile.read_text().replace("latency_ms.p95 < 50", "latency_ms.p95 < 2"))
    line = profile.read_text().splitlines().index("  - latency_ms.p95 < 2") + 1
    done = runner(_from_github(), GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(runner.folder),
                  GITHUB_STEP_SUMMARY=str(runner.summary))  # fmt: skip
    assert done.returncode == 10, done.stderr
    commands = [output_line for output_line in done.stderr.splitlines() if output_line.startswith("::")]
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


class Service:
    """Runs the shell steps of a job as a CI service does: with a new checkout each time, and a cache that remains.

    pip installs the wheel of this source, which is in the repository; its dependencies are those of the test's
    environment. The cache begins with the capacity of the load generator on this machine.
    """

    def __init__(self, folder: Path, wheels: Path, python: Path, home: Path) -> None:
        self.repository, self._folder, self._cache = folder / "repository", folder, folder / "cache"
        (wheel,) = wheels.glob("sizewise-*.whl")
        self.wheel = self.repository / "wheels" / wheel.name
        self.wheel.parent.mkdir(parents=True)
        shutil.copy(wheel, self.wheel)
        shutil.copy(_CI / "benchmark.yaml", folder)
        profile = folder / "benchmark.yaml"
        profile.write_text(profile.read_text().replace("duration: 20s", "duration: 2s").replace("100/s", "400/s"))
        self._python, self.checkouts = python, 0
        shutil.copytree(home, self._cache, ignore=shutil.ignore_patterns("runs"))

    def write_job(self, pipeline: str) -> dict[str, Any]:
        written = subprocess.run(
            [SIZEWISE, "profiles", "ci", "benchmark.yaml", "--for", pipeline, "--out", str(self.repository),
             "--install", str(self.wheel)],
            cwd=self._folder, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        document: dict[str, Any] = yaml.safe_load((self._folder / written[1]).read_text())
        return document

    def run_job(self, steps: Iterable[str], environment: dict[str, str], cached: str) -> tuple[Path, str]:
        """Run the steps, which must all pass, and return the checkout and their output."""
        self.checkouts += 1
        checkout = self._folder / f"checkout-{self.checkouts}"
        shutil.copytree(self.repository, checkout)
        shutil.copytree(self._cache, checkout / cached, symlinks=True)
        variables = {
            "PATH": f"{self._python / 'bin'}:{os.environ['PATH']}", "HOME": str(checkout), "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1", "PIP_IGNORE_INSTALLED": "1",
            "PYTHONPATH": str(FAKE_RENDERER_FOLDER),
            **{name: value.replace("WORKSPACE", str(checkout)) for name, value in environment.items()},
        }  # fmt: skip
        shown = ""
        for step in steps:
            done = until_valid(
                lambda step=step: subprocess.run(  # type: ignore[misc]
                    ["bash", "-eo", "pipefail", "-c", step], cwd=checkout, env=variables, stdin=subprocess.DEVNULL,
                    capture_output=True, text=True, timeout=150, check=False,
                ),
                checkout / "results",
            )  # fmt: skip
            assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
            shown += done.stdout + done.stderr
        shutil.rmtree(self._cache, ignore_errors=True)
        shutil.copytree(checkout / cached, self._cache, symlinks=True)
        return checkout, shown


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(_ROOT)]
    subprocess.run(command, check=True, timeout=150)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and the dependencies, in which Sizewise is not installed."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(str(Path(yaml.__file__).parents[1]))
    return folder


@pytest.fixture
def service(tmp_path: Path, wheels: Path, python: Path, calibrated_home: Path) -> Service:
    return Service(tmp_path, wheels, python, calibrated_home)


def _steps_of_github(job: dict[Any, Any], event: str) -> Iterator[str]:
    for step in job["jobs"]["sizewise"]["steps"]:
        if "run" in step and step.get("if", f"github.event_name == '{event}'") == f"github.event_name == '{event}'":
            yield step["run"]


@pytest.mark.soak  # it installs Sizewise twice; its command is run every time
def test_github_job_compares_second_run_with_baseline(service: Service) -> None:
    job = service.write_job("github")
    steps = job["jobs"]["sizewise"]["steps"]
    (cache,) = (step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/cache"))
    (upload,) = (step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/upload"))
    assert job["env"] == {"SIZEWISE_HOME": "${{ github.workspace }}/" + cache}
    environment = {"SIZEWISE_HOME": f"WORKSPACE/{cache}", "GITHUB_ACTIONS": "true"}
    first, shown = service.run_job(_steps_of_github(job, "push"), environment, cache)
    assert "warning: no run of 'scoring' was promoted, so this run is not compared" in shown
    assert "is now the baseline of 'scoring'" in shown
    second, shown = service.run_job(_steps_of_github(job, "pull_request"), environment, cache)
    assert "is now the baseline" not in shown
    _check_comparison(first / upload, second / upload)


@pytest.mark.soak  # as the job above
def test_gitlab_job_compares_second_run_with_baseline(service: Service) -> None:
    job = service.write_job("gitlab")["benchmark"]
    (cache,), (upload,) = job["cache"]["paths"], job["artifacts"]["paths"]
    assert job["variables"] == {"SIZEWISE_HOME": f"$CI_PROJECT_DIR/{cache}"}
    steps = [*job["before_script"], *job["script"]]
    environment = {"SIZEWISE_HOME": f"WORKSPACE/{cache}", "CI_DEFAULT_BRANCH": "main"}
    first, shown = service.run_job(steps, environment | {"CI_COMMIT_BRANCH": "main"}, cache)
    assert "is now the baseline of 'scoring'" in shown
    second, shown = service.run_job(steps, environment | {"CI_COMMIT_BRANCH": "feature"}, cache)
    assert "is now the baseline" not in shown
    _check_comparison(first / upload, second / upload)
    assert {Path(name).name for name in job["artifacts"]["reports"].values()} <= {
        path.name for path in second.rglob("*")
    }


def _check_comparison(first: Path, second: Path) -> None:
    """Both runs are complete, and the second is compared with the first."""
    results = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
    assert results[0]["comparison"] is None
    assert results[1]["comparison"]["baseline"] == [results[0]["run_id"]]
    assert (second / "report.html").stat().st_size > 10_000
