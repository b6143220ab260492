from __future__ import annotations

import random
from typing import Any

import pytest

from app.planning.exports.autoscaling import build_keda_by_schedule
from app.planning.exports.scale import Scale, compute_hourly_pods, compute_scale
from app.planning.exports.settings import ExportSettings
from tests.app.planning.exports.manifest_schemas import validate_manifest
from tests.app.planning.exports.planned import build_plan
from tests.tiers import first_in_unit_tier

SCALE = Scale(max_pods=50, min_pods=1, spare_pods=0, pods_per_instance=1, target_per_s=1.0, max_unavailable=0)


def parse_cron_minutes(cron: str) -> int:
    minute, hour, *rest = cron.split()
    assert rest == ["*", "*", "*"]
    return int(hour) * 60 + int(minute)


def compute_pods_at(document: dict[str, Any], minute: int) -> int:
    """Return the pods as KEDA does: a trigger is active if its next end is before its next start; the max counts."""
    active_pods: list[int] = [document["spec"]["minReplicaCount"]]
    for trigger in document["spec"]["triggers"]:
        start, end = parse_cron_minutes(trigger["metadata"]["start"]), parse_cron_minutes(trigger["metadata"]["end"])
        until_start = (start - minute - 1) % 1440
        until_end = (end - minute - 1) % 1440
        if until_end < until_start:
            active_pods.append(int(trigger["metadata"]["desiredReplicas"]))
    return max(active_pods)


def build_schedule(pods: tuple[int, ...], early: int = 10) -> dict[str, Any]:
    return build_keda_by_schedule("x", SCALE, pods, ExportSettings(timezone="Asia/Tokyo", start_early_minutes=early))


@pytest.mark.parametrize("count", first_in_unit_tier([2, 20]))
@pytest.mark.parametrize("early", [0, 10, 59])
def test_schedule_has_pods_of_the_hour_and_early_start_of_the_next_hour(early: int, count: int) -> None:
    dice = random.Random(early)
    tables = [tuple(dice.randint(1, 5) for _ in range(24)) for _ in range(count)]
    tables += [tuple(1 + (hour == changed_hour) for hour in range(24)) for changed_hour in (0, 23)]
    tables += [tuple(2 - (hour == changed_hour) for hour in range(24)) for changed_hour in (0, 12, 23)]
    for pods in tables:
        document = build_schedule(pods, early)
        validate_manifest(document)
        for minute in range(0, 1440, 1 if early == 59 else 7):
            hour, is_early = minute // 60, minute % 60 >= 60 - early
            next_pods = pods[(hour + 1) % 24] if is_early else 0
            assert compute_pods_at(document, minute) == max(pods[hour], next_pods), (pods, minute)


def test_constant_schedule_has_one_trigger_at_min_pods() -> None:
    document = build_schedule((7,) * 24)
    validate_manifest(document)
    assert [trigger["metadata"]["desiredReplicas"] for trigger in document["spec"]["triggers"]] == ["7"]
    assert document["spec"]["minReplicaCount"] == 7


def test_schedule_has_the_hourly_pods_of_the_plan() -> None:
    plan = build_plan()
    document = build_keda_by_schedule(
        "x", compute_scale(plan), compute_hourly_pods(plan), ExportSettings(timezone="Asia/Tokyo")
    )
    for hour, pods in enumerate(compute_hourly_pods(plan)):
        assert compute_pods_at(document, hour * 60 + 30) == pods
    assert {trigger["metadata"]["timezone"] for trigger in document["spec"]["triggers"]} == {"Asia/Tokyo"}
    assert document["spec"]["maxReplicaCount"] == max(compute_hourly_pods(plan))
