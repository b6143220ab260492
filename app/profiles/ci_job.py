"""Generate the CI job that runs a profile, as shown in docs/how-to/ci.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from app import __version__
from app.errors import ProfileError, UsageError
from app.profiles.editing import rewrite
from app.profiles.loading import load_profile_text
from app.profiles.profile import Profile, list_required_extras
from app.profiles.redaction import find_secret_keys, make_paths_absolute
from app.profiles.sent_references import find_sent_references

Pipeline = Literal["github", "gitlab"]
PIPELINES: tuple[Pipeline, ...] = get_args(Pipeline)
_JOB_PATHS: dict[Pipeline, str] = {"github": ".github/workflows/benchmark.yml", "gitlab": ".gitlab-ci.benchmark.yml"}
_GITHUB_TEMPLATE = """\
name: benchmark
on:
  push:
    branches: [main, master]
  pull_request:
  workflow_dispatch:
permissions:
  contents: read
env:
  SIZEWISE_HOME: ${{ github.workspace }}/.sizewise
jobs:
  sizewise:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@11d5960a326750d5838078e36cf38b85af677262 # v4.4.0
      - uses: actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0
        with:
          python-version: "3.12"
      # the baseline, and how much load this kind of runner can send
      - uses: actions/cache@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0
        with:
          path: .sizewise
          key: sizewise-${{ github.run_id }}
          restore-keys: sizewise-
      - run: INSTALL
      - run: COMMAND
      - if: github.event_name == 'push' # a run that passed is the next baseline
        run: sizewise runs promote last
      - uses: actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2
        if: always()
        with:
          name: benchmark
          path: results
          if-no-files-found: ignore
"""
_GITLAB_TEMPLATE = """\
# To use this job, add to .gitlab-ci.yml: include: {local: .gitlab-ci.benchmark.yml}
benchmark:
  image: python:3.12-slim
  timeout: 30 minutes
  variables:
    SIZEWISE_HOME: $CI_PROJECT_DIR/.sizewise
  cache: # the baseline, and how much load this kind of runner can send
    key: sizewise
    paths:
      - .sizewise
  before_script:
    - INSTALL
  script:
    - COMMAND
    - 'if [ "$CI_COMMIT_BRANCH" = "$CI_DEFAULT_BRANCH" ]; then sizewise runs promote last; fi'
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
_GITLAB_IMAGE_WITH_GIT = "python:3.12"
_VCS_URL = re.compile(r"(git|hg|svn|bzr)\+[a-z+]+://", re.ASCII)
_URL = re.compile(r"[a-z+]+://", re.ASCII)
_IS_PUBLISHED = False
"""True once pip can install `sizewise` from the public package index."""
_TEMPLATES: dict[Pipeline, str] = {"github": _GITHUB_TEMPLATE, "gitlab": _GITLAB_TEMPLATE}


def build_requirement(source: str | None, extras: Sequence[str], repository: Path) -> str:
    """Return the requirement with which pip installs Sizewise in the root of the repository, with
    the extras that the profile needs, if any.

    `source` is the path of a wheel, the URL of a wheel or of a version control system, such as
    `git+https://…`, or a requirement, which is returned unchanged. `None` stands for this version
    on the package index. Raises UsageError if a wheel is not in the repository.
    """
    extra_text = f"[{','.join(extras)}]" if extras else ""
    if source is None:
        return f"sizewise{extra_text}=={__version__}"
    if _URL.match(source):
        return f"sizewise{extra_text} @ {source}"
    if not source.endswith(".whl") or " @ " in source:
        return source
    wheel, root = Path(source).resolve(), repository.resolve()
    if not wheel.is_file() or not wheel.is_relative_to(root):
        problem = "is not in the repository" if wheel.is_file() else "does not exist"
        hint = f"Copy the wheel into {repository} and commit it, or use the URL of a wheel or of a Git repository."
        raise UsageError(f"the wheel {source} {problem}, so the job cannot install it", hint=hint)
    return f"./{wheel.relative_to(root).as_posix()}{extra_text}"


def describe_missing_package(requirement: str | None) -> str | None:
    """Return why a job without a `requirement` of its own cannot install Sizewise, and what to do;
    `None` if it can."""
    if requirement is not None or _IS_PUBLISHED:
        return None
    return (
        f"sizewise {__version__} is not published on the public package index, so the job can only install it from an "
        "index of yours. Write the job with --install and a wheel in the repository, the URL of a wheel, or "
        "git+https://…"
    )


def build_ci_job(pipeline: Pipeline, name: str, requirement: str, options: Sequence[str] = ()) -> str:
    """Return a CI job that runs the profile `name`.yaml, compares it with the promoted run, and
    promotes a run of the default branch that passed.

    `requirement` is what pip installs: a name with a version, a URL, or the path of a wheel. For
    the URL of a version control system, the job of GitLab uses an image with Git.
    """
    command = " ".join([f"sizewise run {name}.yaml --out results --baseline promoted", *options])
    install = f"pip install {shlex.quote(requirement)}"
    job = _TEMPLATES[pipeline].replace("INSTALL", install).replace("COMMAND", command)
    needs_git = _VCS_URL.search(requirement) is not None
    return job.replace(f"{_GITLAB_IMAGE_WITH_GIT}-slim", _GITLAB_IMAGE_WITH_GIT) if needs_git else job


def write_ci_job(
    pipeline: Pipeline,
    text: str,
    tree: dict[str, Any],
    directory: Path,
    repository: Path,
    requirement: str | None = None,
) -> tuple[Path, ...]:
    """Write a profile, and a CI job that runs the profile, to a repository. Return the paths of the
    written files.

    The job installs `requirement`, by default this version of Sizewise (see `build_requirement`). Paths
    in the profile `text` are relative to `directory`. In the written profile, paths inside the
    repository are relative to the repository, and all other paths are absolute. Raises UsageError
    if the profile contains a secret, if a file with different content exists, or if a file cannot
    be written.
    """
    secret_keys = find_secret_keys(text)
    if secret_keys:
        hint = "Write env:NAME instead, and add a secret of that name to the pipeline."
        raise UsageError(f"{secret_keys[0]} contains a secret, which must not be stored in a repository", hint=hint)
    name = str(tree.get("name") or "profile")
    if directory.resolve() != repository.resolve():
        text = rewrite(text, _make_relative(make_paths_absolute(tree, directory), repository.resolve())).text
    profile = _load_profile(text, directory)
    extras = () if profile is None else list_required_extras(profile)
    requirement = build_requirement(requirement, (*extras, "report"), repository)
    options = [] if profile is None else _build_consent_options(profile)
    files = {
        repository / f"{name}.yaml": text,
        repository / _JOB_PATHS[pipeline]: build_ci_job(pipeline, name, requirement, options),
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


def _load_profile(text: str, directory: Path) -> Profile | None:
    """Return the profile; `None` if it is not valid, since a job may be written before its profile
    is finished."""
    try:
        return load_profile_text(text.encode(), directory / "profile.yaml")
    except ProfileError:
        return None


def _build_consent_options(profile: Profile) -> list[str]:
    """Return the options that give consent to send the profile's secrets and files to its hosts,
    because a CI job cannot prompt the user."""
    return [f"--allow-secrets {shlex.quote(host)}" for host in find_sent_references(profile)]


def _make_relative(value: Any, repository: Path) -> Any:
    if isinstance(value, dict):
        return {key: _make_relative(child, repository) for key, child in value.items()}
    if isinstance(value, list):
        return [_make_relative(child, repository) for child in value]
    is_inside = isinstance(value, str) and value.startswith(f"{repository}/")
    return value.removeprefix(f"{repository}/") if is_inside else value
