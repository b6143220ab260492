from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.editing import format_profile
from app.profiles.loading import load_profile, load_profile_text
from app.profiles.redaction import find_secret_keys, make_paths_absolute, redact_profile
from app.profiles.resolved import compute_profile_hash, format_spec


@pytest.mark.parametrize(
    ("target", "places"),
    [
        ("headers: {Authorization: hunter2}", ("target.headers.Authorization",)),
        ('headers: {X-Key: "Bearer env:KEY", Accept: "*/*", Cookie: <redacted>}', ()),
        ("api_key: hunter2", ("target.api_key",)),
        ("api_key: env:KEY", ()),
        ("start: {env: {API_TOKEN: hunter2, THREADS: '1'}}", ("target.start.env.API_TOKEN",)),
        ("url: http://me:hunter2@host/", ("target.url",)),
        ("url: [http://host/, 'http://host/?api_key=hunter2']", ("target.url",)),
        ("urls: [http://host/, 'http://host/?api_key=hunter2']", ("target.urls",)),
        ("urls: http://me:hunter2@host/", ("target.urls",)),
    ],
)
def test_plain_text_secrets_of_a_target_are_reported_by_key_path(target: str, places: tuple[str, ...]) -> None:
    assert find_secret_keys(f"target: {{{target}}}\n") == places


@pytest.mark.parametrize(
    ("scrape", "places"),
    [
        ("[{name: a}, {headers: {Authorization: hunter2, X-Key: 'env:KEY'}}]", ("telemetry.headers.Authorization",)),
        ("{headers: {Authorization: hunter2}}", ("telemetry.headers.Authorization",)),
        ("[{scrape: 'http://me:hunter2@host/metrics'}]", ("telemetry.scrape",)),
        ("[{scrape: 'http://host/metrics', headers: {Accept: 'text/plain'}}]", ()),
        ("[3, {headers: 3}]", ()),
    ],
)
def test_plain_text_secrets_of_telemetry_endpoints_are_reported_and_redacted(
    scrape: str, places: tuple[str, ...]
) -> None:
    text = f"target: {{url: 'http://host/'}}\ntelemetry: {scrape}\n"
    assert find_secret_keys(text) == places
    assert "hunter2" not in (redact_profile(text) or "")


@pytest.mark.parametrize("key", ["body", "extra_body", "template", "session"])
def test_plain_text_secrets_of_request_bodies_are_reported_and_redacted(key: str) -> None:
    text = f"workload: {{{key}: {{api_key: hunter2}}, classes: [{{{key}: {{api_key: hunter2}}}}]}}\n"
    assert find_secret_keys(text) == (f"workload.{key}.api_key", f"workload.classes.{key}.api_key")
    assert "hunter2" not in (redact_profile(text) or "")


def test_formatted_spec_contains_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(
        "sizewise: 1\nname: x\ntarget: {protocol: http, url: 'http://127.0.0.1:1/', headers: {X-Key: hunter2, "
        "Authorization: 'env:KEY'}}\nworkload: {body: {a: 1}}\n"
        "load: {stages: [{name: s, arrivals: constant, rate: 1/s, duration: 1s}]}\n"
        "telemetry: [{name: a, scrape: 'http://127.0.0.1:2/', headers: {X-Key: hunter2}}]\n"
    )
    text = format_spec(load_profile(path, []))
    assert "hunter2" not in text
    assert find_secret_keys(text) == ()


@pytest.mark.parametrize("text", ["", "[]", "target: 3", "target: {headers: 3, start: {env: [1]}}"])
def test_secret_search_accepts_profiles_of_any_shape(text: str) -> None:
    assert find_secret_keys(text) == ()


def test_redacted_profile_retains_comments_and_other_values() -> None:
    text = "# mine\ntarget:\n  url: [http://host/, 'http://me:canary@host/']\n  headers: {X.Key: canary, A: env:KEY}\n"
    redacted = redact_profile(text)
    assert redacted is not None
    assert "canary" not in redacted
    assert "# mine" in redacted
    assert "A: env:KEY" in redacted
    assert "http://host/" in redacted
    assert redact_profile(redacted) == redacted


@pytest.mark.parametrize(
    ("text", "is_unchanged"), [("name: [x", True), ("headers: {X: y", False), ("u: ['a://b:c@d", False)]
)
def test_redaction_of_invalid_yaml_drops_text_that_may_contain_a_secret(text: str, is_unchanged: bool) -> None:
    assert redact_profile(text) == (text if is_unchanged else None)


@pytest.mark.parametrize("name", bundled_profiles())
def test_profile_with_absolute_paths_has_the_same_hash_in_another_folder(name: str, tmp_path: Path) -> None:
    path = bundled_profiles()[name]
    text = format_profile(make_paths_absolute(read_document(path.read_bytes(), "x").value, path.parent))
    assert compute_profile_hash(load_profile_text(text.encode(), tmp_path / "x.yaml")) == compute_profile_hash(
        load_profile(path)
    )


def test_model_dataset_and_secret_paths_become_absolute(tmp_path: Path) -> None:
    tree = {
        "target": {"protocol": "openai-chat", "url": "http://127.0.0.1/v1", "api_key": "file:key", "model": "m",
                   "start": {"command": "./serve", "ready": "/health"}},
        "workload": {"dataset": "prompts.jsonl"},
    }  # fmt: skip
    moved = make_paths_absolute(tree, tmp_path)
    assert moved["workload"]["dataset"] == str(tmp_path / "prompts.jsonl")
    assert moved["target"]["api_key"] == f"file:{tmp_path / 'key'}"
    assert moved["target"]["start"]["directory"] == str(tmp_path)
    assert moved["target"]["model"] == "m"
    local = make_paths_absolute(
        {"target": {"model": ["a.onnx", "digits"], "variants": [{"model": "b.onnx"}]}}, tmp_path
    )
    assert local["target"]["model"] == [str(tmp_path / "a.onnx"), "digits"]
    assert local["target"]["variants"][0]["model"] == str(tmp_path / "b.onnx")


@pytest.mark.parametrize(("schema", "is_path"), [("a.json", True), ({"type": "object"}, False)])
def test_prompt_file_paths_become_absolute(schema: Any, is_path: bool, tmp_path: Path) -> None:
    prompts = {"lengths": "pairs.csv", "tools": {"path": "t.json"}, "response_format": {"json_schema": schema}}
    tree = {"target": {"protocol": "openai-chat", "model": "m"}, "workload": {"prompts": prompts}}
    moved = make_paths_absolute(tree, tmp_path)["workload"]["prompts"]
    assert moved == {
        "lengths": str(tmp_path / "pairs.csv"),
        "tools": {"path": str(tmp_path / "t.json")},
        "response_format": {"json_schema": str(tmp_path / "a.json") if is_path else schema},
    }
