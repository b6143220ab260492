"""The examples of docs/ci are what the services take, by their own schemas and a linter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from app.profiles.loading import load_profile

_CI = Path(__file__).parents[1] / "docs" / "ci"
_NEWEST_KUBERNETES = kubernetes_validate.latest_version()


def _documents(name: str) -> list[dict[Any, Any]]:
    return list(yaml.safe_load_all((_CI / name).read_text("utf-8")))


@pytest.mark.parametrize(
    ("name", "schema"), [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")]
)
def test_a_pipeline_is_what_its_schema_says(name: str, schema: str) -> None:
    (document,) = _documents(name)
    # YAML 1.1 reads the key `on` as true
    document = {"on" if key is True else key: value for key, value in document.items()}
    validate = get_builtin_schema(f"vendor.{schema}")
    jsonschema.validators.validator_for(validate)(validate).validate(document)


def test_the_job_is_what_kubernetes_takes_and_asks_for_nothing_it_does_not_need() -> None:
    profile, job = _documents("job.yaml")
    for document in (profile, job):
        kubernetes_validate.validate(document, _NEWEST_KUBERNETES, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["resources"]["requests"] == container["resources"]["limits"], "whole cores need both alike"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_job_carries_the_example_profile_and_it_loads() -> None:
    assert _documents("job.yaml")[0]["data"]["benchmark.yaml"] == (_CI / "benchmark.yaml").read_text("utf-8")
    assert load_profile(_CI / "benchmark.yaml", []).name == "scoring"


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("hadolint"), reason="hadolint has no build for it")
def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(["hadolint", _CI / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
