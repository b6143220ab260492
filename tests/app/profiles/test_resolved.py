from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from app.errors import UsageError
from app.profiles.bundled import bundled_profiles
from app.profiles.loading import load_profile, load_profile_text
from app.profiles.resolved import compute_profile_hash, compute_workload_hash, format_minimal, format_spec
from app.profiles.secrets import resolve_secret
from app.profiles.target import HttpTarget

PROFILE = """\
sizewise: 1
name: scoring
target:
  protocol: http
  url: http://127.0.0.1:8000/score
  headers: {Authorization: "Bearer env:API_KEY", Cookie: canary-1, X-Key: "env:canary-2 env:X", accept: text/plain}
workload:
  dataset: rows.jsonl
load: {stages: [{rate: 100/min, duration: 90s}]}
slo: ["latency_ms.p95   <  50", "error_rate < 0.1% | warn"]
traffic: {peak: 900/s, growth: 7.3%/year}
"""
TRICKY = [
    "1e6",
    "007",
    "no",
    "null",
    "~",
    "",
    "a: b",
    "# x",
    "-1",
    ".5",
    "true",
    "2026-01-01",
    "é\n\tü",
    "'",
    '"',
    "\x07",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    return path


@pytest.mark.parametrize("name", bundled_profiles())
def test_minimal_profile_of_a_bundled_profile_resolves_to_the_same_spec(name: str) -> None:
    path = bundled_profiles()[name]
    profile = load_profile(path)
    text = format_minimal(profile)
    reloaded = load_profile_text(text.encode(), path)
    assert format_spec(reloaded) == format_spec(profile)
    assert len(text.splitlines()) < len(format_spec(profile).splitlines()) / 2
    assert "warmup: 2s" not in text, "a default"


def test_secrets_are_redacted_in_the_minimal_profile(path: Path) -> None:
    text = format_minimal(load_profile(path))
    assert "canary" not in text
    assert "Bearer env:API_KEY" in text


def test_spec_lists_every_default_with_its_unit(path: Path) -> None:
    spec = yaml.safe_load(format_spec(load_profile(path)))
    assert spec["load"]["warmup"] == "2s"
    assert spec["load"]["stages"][0] == {
        "name": "steady", "arrivals": "poisson", "rate": "1.6666666666666667/s", "duration": "1.5m", "lead_in": "0s",
        "repeats": 1,
    }  # fmt: skip
    assert spec["plan"]["confidence"] == "90%"
    assert spec["plan"]["redundancy"] == "n+1"
    assert spec["traffic"]["growth"] == "7.3%/year"
    assert spec["target"]["timeouts"] == {"connect": "5s", "idle": "30s", "total": "1m"}


def test_spec_redacts_secrets_and_preserves_references(path: Path) -> None:
    text = format_spec(load_profile(path))
    assert "canary" not in text
    assert "Bearer env:API_KEY" in text
    assert "text/plain" in text


def test_redacted_header_cannot_be_resolved(path: Path) -> None:
    spec = path.with_name("spec.yaml")
    spec.write_text(format_spec(load_profile(path)))
    target = load_profile(spec).target
    assert isinstance(target, HttpTarget)
    with pytest.raises(UsageError, match="redacted"):
        resolve_secret(target.headers["Cookie"])


@pytest.mark.parametrize("name", [*bundled_profiles(), None])
def test_written_spec_loads_again_with_the_same_hash(name: str | None, path: Path, tmp_path: Path) -> None:
    profile = load_profile(bundled_profiles()[name] if name else path)
    spec = tmp_path / "elsewhere" / "spec.yaml"
    spec.parent.mkdir()
    spec.write_text(format_spec(profile), encoding="utf-8")
    reloaded = load_profile(spec)
    assert compute_profile_hash(reloaded) == compute_profile_hash(profile)
    assert format_spec(reloaded) == format_spec(profile)


def test_any_body_text_survives_a_round_trip(path: Path) -> None:
    path.write_text(PROFILE.replace("dataset: rows.jsonl", f"bodies: {json.dumps(TRICKY)}"))
    profile = load_profile(path)
    spec = path.with_name("spec.yaml")
    spec.write_text(format_spec(profile), encoding="utf-8")
    assert list(load_profile(spec).workload.model_dump()["bodies"]) == TRICKY


@pytest.mark.parametrize(
    ("original", "other", "is_same"),
    [
        ("canary-1", "canary-3", True),
        ("env:API_KEY", "env:OTHER", True),
        ("duration: 90s", "duration: 1.5m", True),
        ("p95   <  50", "p95 < 50", True),
        ("text/plain", "text/html", False),
        ("100/min", "101/min", False),
        ("p95   <  50", "p95 < 51", False),
    ],
)
def test_profile_hash_changes_only_with_values_that_affect_the_result(
    path: Path, original: str, other: str, is_same: bool
) -> None:
    before = compute_profile_hash(load_profile(path))
    assert original in PROFILE
    path.write_text(PROFILE.replace(original, other))
    assert (compute_profile_hash(load_profile(path)) == before) is is_same


def test_profile_hash_depends_on_dataset_content_and_not_on_its_path(path: Path, tmp_path: Path) -> None:
    before = compute_profile_hash(load_profile(path))
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "profile.yaml").write_text(PROFILE)
    (moved / "rows.jsonl").write_text("{}\n")
    assert compute_profile_hash(load_profile(moved / "profile.yaml")) == before
    (moved / "rows.jsonl").write_text("[]\n")
    assert compute_profile_hash(load_profile(moved / "profile.yaml")) != before


@pytest.mark.parametrize(
    ("original", "other", "is_same"),
    [("name: test", "name: other", True), ("rate: 100/s", "rate: 50/s", True), ("body: {a: 1}", "body: {a: 2}", False)],
)
def test_workload_hash_depends_only_on_the_requests(original: str, other: str, is_same: bool, tmp_path: Path) -> None:
    text = (
        "sizewise: 1\nname: test\ntarget: {protocol: http, url: 'http://127.0.0.1:1/'}\nworkload: {body: {a: 1}}\n"
        "load: {stages: [{name: steady, arrivals: poisson, rate: 100/s, duration: 1s}]}\n"
    )
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "two.yaml").write_text(text.replace(original, other))
    assert original in text
    first_hash, second_hash = (
        compute_workload_hash(load_profile(tmp_path / f"{name}.yaml")) for name in ("one", "two")
    )
    assert (first_hash == second_hash) == is_same
