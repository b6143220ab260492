"""Several request classes, checked with the log of a reference LLM server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.storage.run_directory import StoredRun
from loadgen.reference.llm_scheduler import LlmConfig
from tests.fakes.llm_server import llm_server
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

MODEL = LlmConfig(served_model_name="m", step_ms=1, prefill_token_ms=0, decode_seq_ms=0)
PROFILE = """sizewise: 1
name: mix
target: {{protocol: openai-chat, url: "{url}", model: m}}
workload:
  prompts: {{input_tokens: 10, output_tokens: 2}}
  classes:
    - {{name: chat, weight: 6, extra_body: {{priority: 0}}, slo: ["ttft_ms.p50 < 5000"]}}
    - {{name: batch, weight: 3, extra_body: {{priority: 5}}, prompts: {{input_tokens: 30, output_tokens: 4}}{slo}}}
    - name: agent
      weight: 1
      extra_body: {{priority: 9}}
      prompts: {{input_tokens: 10, output_tokens: 2, turns: 2, history: live}}
{extra}
load:
  warmup: 0s
  stages: [{{name: steady, rate: 150/s, duration: 2s}}]
"""


def run(here: SizewiseInProcess, folder: Path, url: str, *, slo: str = "", extra: str = "") -> tuple[int, str, Path]:
    profile, out = folder / "profile.yaml", folder / "run"
    profile.write_text(PROFILE.format(url=url, slo=slo, extra=extra))
    done = here("run", str(profile), "--out", str(out))
    return done.returncode, done.stderr, out


def test_requests_have_shares_priorities_and_sessions_of_their_classes(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    with llm_server(MODEL) as model:
        code, errors, out = run(sizewise_in_process, tmp_path, model.url, slo=', slo: ["ttft_ms.p50 < 0.01"]')
        bodies = [json.loads(body) for body in model.bodies]
    assert code in (4, 10), errors
    assert "p50 TTFT (batch) < 0.01 ms was not met in steady" in errors
    (stage,) = json.loads((out / "result.json").read_text())["stages"]
    summaries = {summary["name"]: summary for summary in stage["classes"]}
    assert [summary["meets_slo"] for summary in summaries.values()] == [True, False, None]

    # the first three bodies are the preflight's, one of each class
    sent = Counter(body["priority"] for body in bodies[3:])
    names = {0: "chat", 5: "batch", 9: "agent"}
    assert {body["priority"] for body in bodies[:3]} == set(names)
    assert {names[priority]: count for priority, count in sent.items()} == {
        name: summary["requests"] for name, summary in summaries.items()
    }
    agent_first, agent_second = _split_turns([body for body in bodies[3:] if body["priority"] == 9])
    arrivals = sent[0] + sent[5] + len(agent_first)
    for count, share in ((sent[0], 0.6), (sent[5], 0.3), (len(agent_first), 0.1)):
        assert count / arrivals == pytest.approx(share, abs=4 * (share * (1 - share) / arrivals) ** 0.5)
    assert agent_second, "the history of the class is live"
    assert stage["live_sessions"]["outcomes"]["completed"] == len(agent_second), "single requests are no sessions"

    rows = StoredRun(out).requests().to_pandas()
    assert rows["class"].value_counts().to_dict() == {0: sent[0], 1: sent[5], 2: sent[9]}
    assert set(rows["max_output_tokens"][rows["class"] == 1]) == {4}
    tokens = summaries["batch"]["tokens"]
    assert (tokens["responses"], tokens["output_tokens"]) == (sent[5], 4 * sent[5])


def _split_turns(bodies: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    second = [body for body in bodies if any(message["role"] == "assistant" for message in body["messages"])]
    return [body for body in bodies if body not in second], second


def test_missing_adapter_of_class_exits_with_3_before_load(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    with llm_server(MODEL) as model:
        extra = "    - {name: sql, model: sql-lora}"
        code, errors, _ = run(sizewise_in_process, tmp_path, model.url, extra=extra)
        assert len(model.bodies) == 4, "one request of each class"
    assert code == 3
    assert "class sql: POST" in errors
    assert "status 404" in errors
