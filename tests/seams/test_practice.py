"""The doubts of a practitioner, of a run against a model that gives cause for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.caching_model import caching_model
from tests.fakes.program import SizewiseHere

pytestmark = pytest.mark.process

PROFILE = """sizewise: 1
name: chat
target:
  protocol: openai-chat
  url: {url}
  model: m
  headers: {{Authorization: "env:MODEL_KEY"}}
workload: {{stream: false, prompts: {{input_tokens: 20, output_tokens: 100, unique: 1}}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: 60/s, duration: 2s}}]
"""


def test_a_model_that_remembers_its_one_prompt_and_stops_early_is_reported_of(
    sizewise_here: SizewiseHere, tmp_path: Path
) -> None:
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    with caching_model() as model:
        profile.write_text(PROFILE.format(url=model.url))
        done = sizewise_here("run", str(profile), "--out", str(out), MODEL_KEY="canary-of-the-key")
    assert done.returncode in (0, 4), done.stderr  # 4: the machine was busy
    checks = {check["id"]: check for check in sizewise_here.result(out)["validity"]}
    assert checks["prefix_cache"]["verdict"] == "WARN"
    assert checks["prefix_cache"]["value"] == 1.0
    assert checks["output_lengths"]["verdict"] == "WARN"
    assert checks["output_lengths"]["value"] == pytest.approx(0.41)
    assert (checks["prompts"]["value"], checks["prompts"]["verdict"]) == (1, "WARN")
    assert "WARN prefix cache" in done.stdout
    assert len(model.asked_for_metrics) == 2, "before and after the load"
    assert "canary" not in str(model.asked_for_metrics)
