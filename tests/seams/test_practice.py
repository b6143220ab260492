"""The doubts of a practitioner, of a run against a model that gives cause for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.reference.llm_scheduler import EventKind, LlmConfig
from tests.fakes.llm_server import llm_server
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
MODEL = LlmConfig(
    served_model_name="m", block_size=1, step_ms=0.05, prefill_token_ms=0, decode_seq_ms=0,
    min_output_tokens=41, max_output_tokens=41,
)  # fmt: skip


def test_a_model_that_remembers_its_one_prompt_and_stops_early_is_reported_of(
    sizewise_here: SizewiseHere, tmp_path: Path
) -> None:
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    with llm_server(MODEL) as model:
        profile.write_text(PROFILE.format(url=model.url))
        done = sizewise_here("run", str(profile), "--out", str(out), MODEL_KEY="canary-of-the-key")
        metrics_headers = [headers for path, headers in model.heads if path == "/metrics"]
        # the first request is that of the check before the run
        prompts, admissions = (
            [event for event in model.events if event.kind == kind][1:]
            for kind in (EventKind.ARRIVED, EventKind.ADMITTED)
        )
    assert done.returncode in (0, 4), done.stderr  # 4: the machine was busy
    checks = {check["id"]: check for check in sizewise_here.result(out)["validity"]}
    assert checks["prefix_cache"]["verdict"] == "WARN"
    cached_tokens = sum(event.cached_tokens or 0 for event in admissions)
    prompt_tokens = sum(event.prompt_tokens or 0 for event in prompts)
    assert checks["prefix_cache"]["value"] == cached_tokens / prompt_tokens == 21 / 22, "all but the last token"
    assert checks["output_lengths"]["verdict"] == "WARN"
    assert checks["output_lengths"]["value"] == pytest.approx(0.41)
    assert (checks["prompts"]["value"], checks["prompts"]["verdict"]) == (1, "WARN")
    assert "WARN prefix cache" in done.stdout
    assert len(metrics_headers) == 2, "before and after the load"
    assert "canary" not in str(metrics_headers)
