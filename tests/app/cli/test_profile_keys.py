from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.profiles.loading import load_profile


def test_profile_keys_have_unit_bounds_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "keys"]) == 0
    out = capsys.readouterr().out
    assert "load.warmup  (ms, s, m, h; at most 30d; default 2s)\n    Total duration of three warm-up windows" in out
    assert main(["profiles", "keys", "local", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["target.batch"]["default"] == [1]
    assert rows["target.providers"]["bounds"].startswith("cpu, cuda")


def test_keys_of_unknown_protocol_suggest_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "keys", "htp"]) == ExitCode.USAGE
    assert "Did you mean 'http'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pipeline", "job"), [("github", ".github/workflows/benchmark.yml"), ("gitlab", ".gitlab-ci.benchmark.yml")]
)
def test_ci_job_is_written_beside_its_profile_and_never_overwritten(
    pipeline: str, job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profiles", "ci", "quickstart", "--for", pipeline, "--out", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "quickstart.yaml"), str(tmp_path / job)]
    assert "sizewise run quickstart.yaml --out results" in (tmp_path / job).read_text()
    assert load_profile(tmp_path / "quickstart.yaml").name == "quickstart"
    assert main(command) == 0
    (tmp_path / job).write_text("mine")
    assert main(command) == ExitCode.USAGE
    assert (tmp_path / job).read_text() == "mine"
