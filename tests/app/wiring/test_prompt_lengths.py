from __future__ import annotations

from pathlib import Path
from typing import Any

from app.profiles.loading import load_values
from app.profiles.profile import GeneratingProfile, RerankProfile
from app.wiring.prompt_lengths import PromptLengths, lengths_of_prompts


def lengths(protocol: str = "openai-chat", **workload: Any) -> PromptLengths:
    target = {"protocol": protocol, "url": "http://127.0.0.1:1/v1", "model": "m"}
    load = {"seed": 3, "stages": [{"rate": "1/s", "duration": "1s"}]}
    values = {"sizewise": 1, "name": "mine", "target": target, "workload": workload, "load": load}
    profile = load_values(values, "mine.yaml")
    assert isinstance(profile, GeneratingProfile | RerankProfile)
    return lengths_of_prompts(profile)


def test_the_same_seed_draws_the_same_lengths_within_their_bounds() -> None:
    drawn = lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert drawn == lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert len(drawn.inputs) == drawn.unique == 500
    assert min(drawn.inputs) >= 100
    assert max(drawn.inputs) <= 800
    assert set(drawn.outputs) == {64}


def test_a_session_carries_its_earlier_turns() -> None:
    drawn = lengths(
        prompts={"input_tokens": 10, "output_tokens": 5, "turns": 3, "prefix": {"tokens": 100}, "unique": 2}
    )
    assert drawn.inputs == (110, 125, 140) * 2
    assert drawn.requests_a_session == 3


def test_documents_of_a_reranking_are_in_its_request() -> None:
    assert lengths("openai-rerank", prompts={"input_tokens": 10, "unique": 1}, documents=4).inputs == (50,)


def test_a_dataset_says_why_nothing_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "hello"}\n')
    drawn = lengths(dataset=str(tmp_path / "d.jsonl"))
    assert "tokenizer" in str(drawn.reason)
    assert not drawn.inputs
