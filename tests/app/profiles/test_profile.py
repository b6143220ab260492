from __future__ import annotations

from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.endpoint import ADDRESS_KEYS
from app.profiles.loading import load_profile_tree
from app.profiles.profile import HttpProfile, find_protocol
from app.profiles.resolved import compute_profile_hash, format_spec
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}
STAGES = {"stages": [{"rate": "1/s", "duration": "20s"}]}
USERS = {"stages": [{"concurrency": 1, "duration": "20s"}]}


def test_abort_condition_survives_a_round_trip_and_does_not_change_the_profile_hash(load: Load) -> None:
    profile = load(HTTP, {}, STAGES, options={"abort_when": " error_rate >  20%  after 15s "})
    assert isinstance(profile, HttpProfile)
    rule = profile.options.abort_when
    assert rule is not None
    assert (rule.objective.metric, rule.objective.limit, rule.after_s) == ("error_rate", 0.2, 15.0)
    assert yaml.safe_load(format_spec(profile))["options"] == {"abort_when": "error_rate > 20% after 15s"}
    assert compute_profile_hash(profile) == compute_profile_hash(load(HTTP, {}, STAGES)), (
        "the abort condition is not part of the hash"
    )


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("error_rate > 20%", 'no "after" time', "after 15s"),
        ("error_rate > 20% after", 'no "after" time', "after 15s"),
        (20, 'no "after" time', "after 15s"),
        ("error_rate > 20% after 15", "not a duration", "30s"),
        ("error_rate > 20 after 15s", "has no unit", "20%"),
        ("eror_rate > 20% after 15s", 'the metric "eror_rate" is unknown', "Did you mean error_rate?"),
        ("latency_ms.p95 > 20ms after 15s", "latency_ms is in ms", "Use 20 without a unit"),
        ("goodput_share > 20% after 15s", "not available while a stage runs", "error_rate or latency_ms"),
        ("error_rate < 20% after 15s", "cannot be used to abort a run", "error_rate > 20%"),
        ("error_rate > 20% | warn after 15s", "", ""),
        ("error_rate > 100% after 15s", "can never be met", "lower limit"),
        ("error_rate > 20% after 20s", "no stage is longer than 20s", "less than 20s"),
    ],
)
def test_abort_condition_that_can_never_apply_is_rejected_with_its_line(
    load: Load, written: object, message: str, hint: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(HTTP, {}, STAGES, options={"abort_when": written})
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.line is not None


def test_abort_condition_of_a_locust_test_cannot_use_latency(load: Load, tmp_path: Any) -> None:
    (tmp_path / "locustfile.py").write_text("")
    target = {"protocol": "locust", "file": "locustfile.py"}
    assert load(target, {}, USERS, options={"abort_when": "error_rate > 20% after 15s"})
    with pytest.raises(ProfileError, match="not available while a Locust test"):
        load(target, {}, USERS, options={"abort_when": "latency_ms.p95 > 20 after 15s"})


def test_abort_condition_is_rejected_for_a_local_model(load: Load) -> None:
    with pytest.raises(ProfileError) as caught:
        load({"model": "digits"}, None, {}, options={"abort_when": "error_rate > 20% after 15s"})
    assert "applies to endpoints" in str(caught.value.hint)


def test_protocol_of_bundled_profiles_is_detected() -> None:
    protocols = {
        name: find_protocol(read_document(path.read_bytes(), name).value) for name, path in bundled_profiles().items()
    }
    assert (protocols["chat"], protocols["local-model"], protocols["quickstart"]) == ("openai-chat", "local", "oip")
    assert find_protocol({"target": {"protocol": "htp"}}) is None


@pytest.mark.parametrize("address_key", ADDRESS_KEYS)
def test_target_with_an_address_and_no_protocol_is_rejected(address_key: str) -> None:
    target = {"model": "digits", address_key: "http://127.0.0.1:9/"}
    assert find_protocol({"target": target}) is None
    with pytest.raises(ProfileError, match=r"the key `target\.protocol` is missing"):
        load_profile_tree({"sizewise": 1, "name": "x", "target": target}, "x.yaml")
