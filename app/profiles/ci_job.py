"""Generate the CI job that runs a profile, as shown in docs/how-to/ci.md."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal, get_args

from app.errors import ProfileError, UsageError
from app.profiles.editing import rewrite
from app.profiles.loading import load_profile_text
from app.profiles.redaction import find_secret_hosts, find_secret_keys, make_paths_absolute

Pipeline = Literal["github", "gitlab"]
PIPELINES: tuple[Pipeline, ...] = get_args(Pipeline)
_JOB_PATHS: dict[Pipeline, str] = {"github": ".github/workflows/benchmark.yml", "gitlab": ".gitlab-ci.benchmark.yml"}
_GITHUB_TEMPLATE = """\
name: benchmark
on: [pull_request, workflow_dispatch]
permissions:
  contents: read
jobs:
  sizewise:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install --requirement requirements.txt
      - run: {command}
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: benchmark
          path: results
          if-no-files-found: ignore
"""
_GITLAB_TEMPLATE = """\
# To use this job, add to .gitlab-ci.yml: include: {{local: .gitlab-ci.benchmark.yml}}
benchmark:
  image: python:3.12-slim
  timeout: 30 minutes
  before_script:
    - pip install --requirement requirements.txt
  script:
    - {command}
  retry:
    max: 1
    exit_codes: [4] # the runner was too busy to measure, so retry once
  artifacts:
    when: always
    paths:
      - results
    reports:
      junit: results/junit.xml
      metrics: results/metrics.prom
"""
_TEMPLATES: dict[Pipeline, str] = {"github": _GITHUB_TEMPLATE, "gitlab": _GITLAB_TEMPLATE}


def write_ci_job(
    pipeline: Pipeline, text: str, tree: dict[str, Any], directory: Path, repository: Path
) -> tuple[Path, ...]:
    """Write a profile, and a CI job that runs the profile, to a repository. Return the paths of the
    written files.

    Paths in the profile `text` are relative to `directory`. In the written profile, paths inside
    the repository are relative to the repository, and all other paths are absolute. Raises
    UsageError if the profile contains a secret, if a file with different content exists, or if a
    file cannot be written.
    """
    secret_keys = find_secret_keys(text)
    if secret_keys:
        hint = "Write env:NAME instead, and add a secret of that name to the pipeline."
        raise UsageError(f"{secret_keys[0]} contains a secret, which must not be stored in a repository", hint=hint)
    name = str(tree.get("name") or "profile")
    if directory.resolve() != repository.resolve():
        text = rewrite(text, _make_relative(make_paths_absolute(tree, directory), repository.resolve())).text
    command = " ".join([f"sizewise run {name}.yaml --out results", *_build_consent_options(text, directory)])
    files = {
        repository / f"{name}.yaml": text,
        repository / _JOB_PATHS[pipeline]: _TEMPLATES[pipeline].format(command=command),
    }
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content.encode():
            raise UsageError(f"{path} already exists", hint="Move it away, or choose another folder.")
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
    return tuple(files)


def _build_consent_options(text: str, directory: Path) -> list[str]:
    """Return the options that give consent to send the profile's secrets to its hosts, because a CI
    job cannot prompt the user."""
    try:
        profile = load_profile_text(text.encode(), directory / "profile.yaml")
    except ProfileError:
        return []
    return [f"--allow-secrets {shlex.quote(host)}" for host in find_secret_hosts(profile)]


def _make_relative(value: Any, repository: Path) -> Any:
    if isinstance(value, dict):
        return {key: _make_relative(child, repository) for key, child in value.items()}
    if isinstance(value, list):
        return [_make_relative(child, repository) for child in value]
    is_inside = isinstance(value, str) and value.startswith(f"{repository}/")
    return value.removeprefix(f"{repository}/") if is_inside else value
