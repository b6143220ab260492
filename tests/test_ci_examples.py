"""The examples of docs/ci and the files of .github are valid by the schemas of their services and a linter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from packaging.requirements import Requirement

from app.profiles import ci_job
from app.profiles.loading import load_profile
from docs.packaging.constraints import build_constraints

_ROOT = Path(__file__).parents[1]
_CI = _ROOT / "docs" / "ci"
_GITHUB = _ROOT / ".github"
_HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))
_NEWEST_KUBERNETES = kubernetes_validate.latest_version()


def _documents(name: str | Path) -> list[dict[Any, Any]]:
    return list(yaml.safe_load_all((_CI / name).read_text("utf-8")))


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("github-actions.yml", "github-workflows"),
        ("gitlab-ci.yml", "gitlab-ci"),
        (_GITHUB / "workflows" / "ci.yml", "github-workflows"),
        (_GITHUB / "ISSUE_TEMPLATE" / "bug.yml", "github-issue-forms"),
        (_GITHUB / "ISSUE_TEMPLATE" / "feature.yml", "github-issue-forms"),
        (_GITHUB / "ISSUE_TEMPLATE" / "config.yml", "github-issue-config"),
    ],
)
def test_pipelines_and_issue_forms_match_their_schemas(name: str | Path, schema: str) -> None:
    (document,) = _documents(name)
    # YAML 1.1 reads the key `on` as true
    document = {"on" if key is True else key: value for key, value in document.items()}
    validate = get_builtin_schema(f"vendor.{schema}")
    jsonschema.validators.validator_for(validate)(validate).validate(document)


def test_kubernetes_job_is_valid_and_has_minimal_privileges() -> None:
    profile, job = _documents("job.yaml")
    for document in (profile, job):
        kubernetes_validate.validate(document, _NEWEST_KUBERNETES, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["resources"]["requests"] == container["resources"]["limits"], "whole cores need both alike"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_kubernetes_job_contains_example_profile() -> None:
    assert _documents("job.yaml")[0]["data"]["benchmark.yaml"] == (_CI / "benchmark.yaml").read_text("utf-8")
    assert load_profile(_CI / "benchmark.yaml", []).name == "scoring"


@pytest.mark.process
@pytest.mark.skipif(_HADOLINT is None, reason="hadolint has no build for it")
def test_dockerfile_has_no_linter_findings() -> None:
    assert _HADOLINT is not None
    done = subprocess.run([_HADOLINT, _CI / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_image_runs_command_as_unprivileged_user() -> None:
    lines = (_CI / "Dockerfile").read_text("utf-8").splitlines()
    (user,) = (line.removeprefix("USER ") for line in lines if line.startswith("USER "))
    assert int(user) > 0
    assert lines[-1] == 'ENTRYPOINT ["sizewise"]'


def test_workflow_scripts_exist_and_are_executable() -> None:
    (workflow,) = _documents(_GITHUB / "workflows" / "ci.yml")
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    ours = [script for script in scripts if script.startswith(".ci/")]
    assert ours == [".ci/run", ".ci/nightly"]
    assert all((_ROOT / script).stat().st_mode & 0o111 for script in ours)


def test_package_license_matches_license_file() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert not any("Private" in classifier for classifier in project["classifiers"])
    text = (_ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


@pytest.mark.parametrize("path", [_GITHUB / "workflows" / "ci.yml", _CI / "github-actions.yml", "profiles ci"])
def test_actions_are_pinned_to_commit_with_version(path: Path | str) -> None:
    text = ci_job._GITHUB_TEMPLATE if isinstance(path, str) else path.read_text("utf-8")
    uses = [line.partition("uses:")[2].strip() for line in text.splitlines() if "uses:" in line]
    assert uses
    for action in uses:
        assert re.match(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_installations_are_constrained_by_lock() -> None:
    makefile = (_ROOT / "Makefile").read_text("utf-8")
    installs = [line for line in makefile.splitlines() if "pip install" in line and "-e .[" in line]
    assert installs
    assert all("--constraint build/constraints.txt" in line for line in installs)
    assert "--constraint /tmp/constraints.txt" in (_CI / "Dockerfile").read_text("utf-8")


def test_constraints_have_each_locked_version_without_hash() -> None:
    lock = (_ROOT / "requirements.lock").read_text("utf-8")
    constraints = build_constraints(lock).splitlines()
    assert [Requirement(line).name for line in constraints]
    assert len(constraints) == sum(line[:1].isalnum() for line in lock.splitlines())
    assert not any("--hash" in line or line.endswith("\\") for line in constraints)
