from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.profiles.datasets import (
    find_secret_paths_in_body,
    format_popularity,
    is_redacted,
    parse_popularity,
    redact_body,
)
from app.profiles.loading import load_profile
from app.profiles.problems import BadValueError
from app.profiles.redaction import find_secret_keys, redact_profile
from app.profiles.resolved import compute_profile_hash, format_spec
from loadgen.workloads import Popularity


@pytest.mark.parametrize(
    ("written", "popularity"),
    [
        ("sequential", Popularity()),
        ("uniform", Popularity("uniform")),
        ("zipf", Popularity("zipf", 1.0)),
        ({"zipf": 1.1}, Popularity("zipf", 1.1)),
    ],
)
def test_popularity_survives_a_round_trip(written: object, popularity: Popularity) -> None:
    assert parse_popularity(written) == popularity
    assert parse_popularity(format_popularity(popularity)) == popularity


@pytest.mark.parametrize("written", ["ziph", 3, None, {"zipf": 0}, {"zipf": True}, {"zipf": 1, "x": 2}, {}])
def test_invalid_popularities_are_rejected(written: object) -> None:
    with pytest.raises(BadValueError):
        parse_popularity(written)


def test_misspelled_popularity_suggests_the_nearest_name() -> None:
    with pytest.raises(BadValueError) as caught:
        parse_popularity("ziph")
    assert caught.value.hint == "Did you mean 'zipf'?"


@pytest.mark.parametrize(
    ("body", "redacted"),
    [
        ({"api_key": "canary", "a": 1}, {"api_key": "<redacted>", "a": 1}),
        ({"auth": {"dbPass": "canary"}}, {"auth": {"dbPass": "<redacted>"}}),
        ([{"rows": [{"pat": "canary"}]}], [{"rows": [{"pat": "<redacted>"}]}]),
        ({"tokens": ["x"], "access_token": ["canary"]}, {"tokens": ["x"], "access_token": ["<redacted>"]}),
        ({"q": "sk-0123456789abcdefXYZ"}, {"q": "<redacted>"}),
        ({"q": "Bearer sk-0123456789abcdefXYZ"}, {"q": "<redacted>"}),
        ('{"api_key": "canary", "n": 1}', '{"api_key": "<redacted>", "n": 1}'),
        ('{"api_key": "canary", "n": {{n}}}', '{"api_key": "<redacted>", "n": {{n}}}'),
        ("user=me&password=canary&n=1", "user=me&password=<redacted>&n=1"),
    ],
)
def test_secret_in_a_body_is_redacted(body: Any, redacted: Any) -> None:
    assert redact_body(body) == redacted
    assert is_redacted(redacted)
    assert list(find_secret_paths_in_body(body, ("body",)))
    assert redact_body(redacted) == redacted
    assert list(find_secret_paths_in_body(redacted, ("body",))) == []


@pytest.mark.parametrize(
    "body",
    [
        None, 3, "", "tell me = a joke", "a text: of any kind", {"max_tokens": 5, "eos_token": "</s>", "code": "x = 1"},
        {"api_key": "{{key}}", "key": None, "token": 7, "n": True}, "{{prompt}}", "[1, 2", "a=1&b=2", '{"a": {{b}}}',
    ],
)  # fmt: skip
def test_body_without_secrets_is_not_changed(body: Any) -> None:
    assert redact_body(body) == body
    assert list(find_secret_paths_in_body(body, ("body",))) == []


@pytest.mark.parametrize(
    "text", ["Zk9fQ2xpZW50U2VjcmV0XzQ3MTE", "9f86d081884c7d659a2feaa0c55ad015", "Is sk-0123456789abcdefXYZ a key?"]
)
def test_random_looking_text_under_a_harmless_key_is_not_redacted(text: str) -> None:
    """Redaction by guessing would remove text from prompts, which then could not be sent again."""
    assert redact_body({"q": text, "inputs": [text]}) == {"q": text, "inputs": [text]}


@pytest.mark.parametrize(
    ("protocol", "workload", "key_path"),
    [
        ("http", "body: {api_key: canary, a: 1}", "workload.body.api_key"),
        ("http", "bodies: [{a: 1}, {auth: {secret: canary}}]", "workload.bodies.auth.secret"),
        ("http", "dataset: rows.jsonl, template: {q: '{{q}}', pat: canary}", "workload.template.pat"),
        ("openai-chat", "prompts: {input_tokens: 8, output_tokens: 4}, extra_body: {api_key: canary}",
         "workload.extra_body.api_key"),
    ],
)  # fmt: skip
def test_stored_profile_has_no_secrets_of_bodies(tmp_path: Path, protocol: str, workload: str, key_path: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "x"}\n')
    path = tmp_path / "profile.yaml"
    model = "" if protocol == "http" else ", model: m"
    text = (
        f"sizewise: 1\nname: x\ntarget: {{protocol: {protocol}, url: 'http://127.0.0.1:1/'{model}}}\n"
        f"workload: {{{workload}}}\nload: {{stages: [{{name: s, arrivals: constant, rate: 1/s, duration: 1s}}]}}\n"
    )
    path.write_text(text)
    assert find_secret_keys(text) == (key_path,)
    assert "canary" not in (redact_profile(text) or "canary")
    profile = load_profile(path)
    spec_text = format_spec(profile)
    assert "canary" not in spec_text
    assert find_secret_keys(spec_text) == ()
    path.write_text(spec_text)
    assert compute_profile_hash(load_profile(path)) == compute_profile_hash(profile)
