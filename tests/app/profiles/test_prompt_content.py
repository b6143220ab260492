from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ProfileError
from app.profiles.profile import GeneratingProfile
from app.profiles.prompt_content import LengthPairSettings
from tests.app.profiles.conftest import Load

CHAT = {"protocol": "openai-chat", "url": "http://127.0.0.1:1/v1", "model": "m"}


def load_prompts(load: Load, **prompts: Any) -> Any:
    profile = load(CHAT, {"prompts": prompts})
    assert isinstance(profile, GeneratingProfile)
    return profile.workload.prompts


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_length_pairs_are_read_with_their_weights(name: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / "pairs.csv").write_text("asked,answered,often\n100,5,2\n7000,300,0.5\n")
    (tmp_path / "pairs.jsonl").write_text(
        '{"asked": 100, "answered": 5, "often": 2}\n{"asked": 7000.0, "answered": 300, "often": 0.5}\n'
    )
    keys = {"path": name, "input": "asked", "output": "answered", "weight": "often"}
    pairs = load_prompts(load, lengths=keys).lengths.read()
    assert np.frombuffer(pairs.input_tokens, "<i4").tolist() == [100, 7000]
    assert np.frombuffer(pairs.output_tokens, "<i4").tolist() == [5, 300]
    assert np.frombuffer(pairs.weights, "<f8").tolist() == [2, 0.5]


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ("input_tokens,output_tokens\n1,0\n", {}, "output_tokens in row 1 of pairs.csv must be a whole number from 1"),
        ("input_tokens,output_tokens\n1,1\nnan,1\n", {}, "input_tokens in row 2 of pairs.csv must be a whole number"),
        ("input_tokens,output\n1,1\n", {}, "has no column 'output_tokens'; it has these columns: input_tokens, output"),
        ("input_tokens,output_tokens,w\n1,1,-1\n", {"weight": "w"}, "w in row 1 of pairs.csv must be a number of at"),
        ("input_tokens,output_tokens,w\n1,1,0\n", {"weight": "w"}, "pairs.csv has no weight above 0"),
        ("input_tokens,output_tokens\n1\n", {}, "line 2: the row has 1 cells"),
        ("input_tokens,output_tokens\n", {}, "has no rows"),
    ],
)
def test_invalid_length_pairs_are_rejected_with_their_row(
    content: str, more: dict[str, str], message: str, tmp_path: Path, load: Load
) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(ProfileError, match=message) as caught:
        load_prompts(load, lengths={"path": "pairs.csv", **more})
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"lengths": "pairs.csv", "output_tokens": 5}, "conflicts with"),
        ({"lengths": "pairs.csv", "history": "prepared", "turns": 2}, None),
        ({"input_tokens": 5, "documents": {"count": 2, "tokens": 5, "per_prompt": 3}}, "3 exceeds documents.count 2"),
        ({"input_tokens": 5, "documents": {"count": 2}}, "missing the key tokens"),
        ({"lengths": "."}, "is a folder"),
    ],
)
def test_conflicting_prompt_keys_are_rejected(
    prompts: dict[str, Any], message: str | None, tmp_path: Path, load: Load
) -> None:
    (tmp_path / "pairs.csv").write_text("input_tokens,output_tokens\n1,1\n")
    if message is None:
        assert isinstance(load_prompts(load, **prompts).lengths, LengthPairSettings)
        return
    with pytest.raises(ProfileError, match=message):
        load_prompts(load, **prompts)


@pytest.mark.parametrize(
    ("protocol", "prompts", "message"),
    [
        ("openai-completions", {"images": {"count": 1}}, "openai-completions sends no images"),
        ("openai-responses", {"audio": {"duration": "2s"}}, "openai-responses sends no audio"),
        ("anthropic-messages", {"audio": {"count": 1}}, "anthropic-messages sends no audio"),
        ("openai-chat", {"images": {"width": 5000}}, "5,000 exceeds the maximum of 4,096"),
        ("openai-chat", {"audio": {"duration": "11m"}}, "11m exceeds the maximum of 10m"),
    ],
)
def test_images_and_audio_are_rejected_for_protocols_that_do_not_send_them(
    protocol: str, prompts: dict[str, Any], message: str, load: Load
) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        load({**CHAT, "protocol": protocol}, {"prompts": {"input_tokens": 5, "output_tokens": 5, **prompts}})
    assert caught.value.line is not None
    assert caught.value.line > 5


OPENAI_TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}, "strict": True}}
RESPONSES_TOOL = {"type": "function", "name": "look", "description": "looks", "parameters": {"type": "object"}}
ANTHROPIC_TOOL = {"name": "see", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}


def test_tools_are_generated_from_the_seed_or_read_in_any_notation(tmp_path: Path, load: Load) -> None:
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [OPENAI_TOOL, RESPONSES_TOOL, ANTHROPIC_TOOL]}))
    tools = load_prompts(load, input_tokens=5, tools={"path": "tools.json"}).tools
    assert json.loads(tools.read(1)) == [
        {"name": "find", "strict": True, "parameters": {"type": "object"}},
        {"name": "look", "description": "looks", "parameters": {"type": "object"}},
        {"name": "see", "parameters": {"type": "object"}},
    ]
    generated = load_prompts(load, input_tokens=5, tools=40).tools
    assert generated.read(1) == generated.read(1) != generated.read(2)
    names = [tool["name"] for tool in json.loads(generated.read(1))]
    assert len(set(names)) == 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "tools.json has no list of tools"),
        ("{", "tools.json is not valid JSON"),
        ('[{"name": "a"}, {"name": "a b"}]', "tool 2 of tools.json needs a name"),
        ('[{"name": "a"}, {"name": "a"}]', "two tools with the same name"),
        ('[{"type": "web_search"}]', "tool 1 of tools.json is no function"),
        ('[{"name": "a", "parameters": 5}]', "needs a mapping of parameters"),
        (" " * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_invalid_tool_files_are_rejected(content: str, message: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / "tools.json").write_text(content)
    with pytest.raises(ProfileError, match=message):
        load_prompts(load, input_tokens=5, tools={"path": "tools.json"})


def test_json_schema_is_read_inline_or_from_a_file(tmp_path: Path, load: Load) -> None:
    (tmp_path / "a.json").write_text('{"type": "object"}')
    inline = load_prompts(load, input_tokens=5, response_format={"json_schema": {"type": "object"}, "check": True})
    in_file = load_prompts(load, input_tokens=5, response_format={"json_schema": "a.json", "check": True})
    assert inline.response_format.build() == in_file.response_format.build()
    assert in_file.response_format.json_schema == str(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"response_format": {"json_schema": "none.json"}}, "none.json does not exist"),
        ({"response_format": {"json_schema": "a" * 3000}}, "File name too long"),
        ({"response_format": {"json_schema": [1]}}, "must be a JSON schema, or the path"),
        ({"response_format": {"json_schema": {"type": "text"}}}, "the JSON schema is invalid at /type"),
        ({"response_format": {}}, "missing the key json_schema"),
        ({"tools": {"choice": "none"}}, "exactly one of count and path"),
        ({"tools": 1001}, "exceeds the maximum of 1,000"),
    ],
)
def test_invalid_prompt_options_are_rejected_with_their_line(prompts: dict[str, Any], message: str, load: Load) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        load_prompts(load, input_tokens=5, **prompts)
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("protocol", "key", "body_key"),
    [
        ("openai-chat", "tools", "tools"),
        ("openai-responses", "response_format", "text"),
        ("anthropic-messages", "response_format", "output_config"),
    ],
)
@pytest.mark.parametrize("source", ["prompts", "dataset"])
def test_prompt_options_conflict_with_the_same_key_of_extra_body(
    protocol: str, key: str, body_key: str, source: str, tmp_path: Path, load: Load
) -> None:
    (tmp_path / "asked.jsonl").write_text('{"prompt": "why?", "most": 5}\n')
    option: Any = 3 if key == "tools" else {"json_schema": {}}
    settings: dict[str, Any] = (
        {"input_tokens": 5, "output_tokens": 5} if source == "prompts" else {"path": "asked.jsonl"}
    )
    settings |= {"output_tokens": "most"} if source == "dataset" else {}
    workload = {source: {**settings, key: option}, "extra_body": {body_key: []}}
    with pytest.raises(ProfileError, match=f"extra_body.{body_key} conflicts with workload.{source}.{key}"):
        load({**CHAT, "protocol": protocol}, workload)
    with pytest.raises(ProfileError, match="openai-completions sends no tools"):
        load({**CHAT, "protocol": "openai-completions"}, {source: {**settings, "tools": 3}})
