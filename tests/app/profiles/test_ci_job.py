from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from app import __version__
from app.errors import UsageError
from app.profiles.ci_job import (
    PIPELINES,
    Pipeline,
    build_ci_job,
    build_requirement,
    describe_missing_package,
    write_ci_job,
)
from app.profiles.document import read_document

PROFILE = """sizewise: 1
name: mine
target:
  protocol: http
  url: http://127.0.0.1:8000/score
  headers: {{Authorization: "{key}"}}
workload: {{body: {{a: 1}}}}
load: {{stages: [{{name: steady, rate: 10/s, duration: 1s}}]}}
"""


def write(pipeline: Pipeline, text: str, folder: Path) -> tuple[Path, ...]:
    tree = read_document(text.encode(), "mine.yaml").value
    return write_ci_job(pipeline, text, tree, folder, folder)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_profile_and_its_ci_job_are_written(tmp_path: Path, pipeline: Pipeline) -> None:
    profile, job = write(pipeline, PROFILE.format(key="env:API_KEY"), tmp_path)
    assert profile == tmp_path / "mine.yaml"
    assert "sizewise run mine.yaml --out results" in job.read_text()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_profile_with_a_plain_text_secret_is_not_copied_for_a_ci_job(tmp_path: Path, pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="contains a secret") as caught:
        write(pipeline, PROFILE.format(key="Bearer s3cr3t"), tmp_path)
    assert "s3cr3t" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_ci_job_allows_the_hosts_that_receive_secrets(tmp_path: Path) -> None:
    text = PROFILE.format(key="env:API_KEY").replace("127.0.0.1:8000", "api.example.com")
    _, job = write("github", text, tmp_path)
    assert "sizewise run mine.yaml --out results --baseline promoted --allow-secrets api.example.com" in job.read_text()


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("{protocol: http, url: http://127.0.0.1:1/}", "[report]"),
        ("{protocol: http, url: http://127.0.0.1:1/}\ntraffic: {peak: 9/s}", "[plan,report]"),
        ("{protocol: oip, serve: {model: digits}}", "[local,report]"),
        (
            "{protocol: openai-chat, model: m, serve: {model: .}}\n"
            "workload: {prompts: {input_tokens: 8, output_tokens: 4}}",
            "[llm,report]",
        ),
        ("{model: digits}", "[local,report]"),
    ],
)
def test_ci_job_installs_this_version_with_the_required_extras(tmp_path: Path, target: str, extras: str) -> None:
    load = "scenarios: [offline]" if target.startswith("{model") else "stages: [{rate: 1/s, duration: 1s}]"
    _, job = write("github", f"sizewise: 1\nname: mine\ntarget: {target}\nload: {{{load}}}\n", tmp_path)
    requirement = f"sizewise{extras}=={__version__}"
    assert f"- run: pip install {shlex.quote(requirement)}\n" in job.read_text()


@pytest.mark.parametrize("extras", [(), ("local", "report")])
@pytest.mark.parametrize(
    ("source", "is_path"),
    [
        ("repository/wheels/sizewise-0.1.0-py3-none-any.whl", True),
        ("https://packages.example.com/sizewise-0.1.0-py3-none-any.whl", False),
        ("git+https://git.example.com/tools/sizewise@v0.1.0", False),
        ("git+ssh://git@git.example.com/tools/sizewise", False),
    ],
)
def test_ci_job_installs_from_the_requested_source_with_the_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, is_path: bool, extras: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    wheel = tmp_path / "repository/wheels/sizewise-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    requirement = build_requirement(source, extras, Path("repository"))
    if is_path:
        path, _, written_extras = requirement.partition("[")
        assert (tmp_path / "repository" / path).samefile(wheel)
        assert path.startswith("./")
        assert written_extras == ("local,report]" if extras else "")
    else:
        parsed = Requirement(requirement)
        assert (parsed.name, parsed.url, parsed.extras) == ("sizewise", source, set(extras))


def test_wheel_outside_the_repository_or_missing_is_rejected(tmp_path: Path) -> None:
    outside = tmp_path / "sizewise-0.1.0-py3-none-any.whl"
    for _ in range(2):  # a missing wheel, and a wheel outside the repository
        with pytest.raises(UsageError):
            build_requirement(str(outside), (), tmp_path / "repository")
        outside.touch()


def test_gitlab_job_that_installs_from_git_has_an_image_with_git() -> None:
    def image(requirement: str) -> str:
        job = yaml.safe_load(build_ci_job("gitlab", "benchmark", requirement))
        return str(job["benchmark"]["image"])

    assert image("sizewise @ git+https://git.example.com/sizewise") == "python:3.12"
    assert image("./sizewise-0.1.0-py3-none-any.whl") == "python:3.12-slim"


def test_missing_package_note_is_shown_only_without_a_package_source() -> None:
    assert describe_missing_package(None) is not None
    assert describe_missing_package("git+https://git.example.com/sizewise") is None


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_documented_ci_examples_match_the_generated_jobs(pipeline: Pipeline, tmp_path: Path) -> None:
    path = {"github": "github-actions.yml", "gitlab": "gitlab-ci.yml"}[pipeline]
    text = (Path(__file__).parents[3] / "docs" / "ci" / path).read_text()
    wheel = tmp_path / "wheels" / f"sizewise-{__version__}-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    is_published = describe_missing_package(None) is None
    requirement = build_requirement(None if is_published else str(wheel), ("report",), tmp_path)
    generated_job = build_ci_job(pipeline, "benchmark", requirement)
    assert yaml.safe_load(text) == yaml.safe_load(generated_job)
