from __future__ import annotations

import random
from typing import Any

import pytest

from app.planning.exports.autoscaling import build_keda_by_schedule
from app.planning.exports.scale import Scale, compute_hourly_pods, compute_scale
from app.planning.exports.settings import ExportSettings
from tests.app.planning.exports.manifest_schemas import check
from tests.app.planning.exports.planned import planned
from tests.tiers import first_in_unit_tier

SCALE = Scale(max_pods=50, min_pods=1, spare_pods=0, pods_per_instance=1, target_per_s=1.0, max_unavailable=0)


def minutes(cron: str) -> int:
    minute, hour, *rest = cron.split()
    assert rest == ["*", "*", "*"]
    return int(hour) * 60 + int(minute)


def pods_at(document: dict[str, Any], minute: int) -> int:
    """As KEDA takes it: in force where the next end comes before the next start; the largest counts."""
    in_force: list[int] = [document["spec"]["minReplicaCount"]]
    for trigger in document["spec"]["triggers"]:
        start, end = minutes(trigger["metadata"]["start"]), minutes(trigger["metadata"]["end"])
        until_start = (start - minute - 1) % 1440
        until_end = (end - minute - 1) % 1440
        if until_end < until_start:
            in_force.append(int(trigger["metadata"]["desiredReplicas"]))
    return max(in_force)


def by_clock(pods: tuple[int, ...], early: int = 10) -> dict[str, Any]:
    return build_keda_by_schedule("x", SCALE, pods, ExportSettings(timezone="Asia/Tokyo", start_early_minutes=early))


@pytest.mark.parametrize("count", first_in_unit_tier([2, 20]))
@pytest.mark.parametrize("early", [0, 10, 59])
def test_every_minute_has_its_hours_pods_and_early_ones_the_next_hours(early: int, count: int) -> None:
    dice = random.Random(early)
    tables = [tuple(dice.randint(1, 5) for _ in range(24)) for _ in range(count)]
    tables += [tuple(1 + (hour == at) for hour in range(24)) for at in (0, 23)]
    tables += [tuple(2 - (hour == at) for hour in range(24)) for at in (0, 12, 23)]
    for pods in tables:
        document = by_clock(pods, early)
        check(document)
        for minute in range(0, 1440, 1 if early == 59 else 7):
            hour, nearing = minute // 60, minute % 60 >= 60 - early
            coming = pods[(hour + 1) % 24] if nearing else 0
            assert pods_at(document, minute) == max(pods[hour], coming), (pods, minute)


def test_a_day_without_change_is_one_trigger_of_the_least() -> None:
    document = by_clock((7,) * 24)
    check(document)
    assert [trigger["metadata"]["desiredReplicas"] for trigger in document["spec"]["triggers"]] == ["7"]
    assert document["spec"]["minReplicaCount"] == 7


def test_the_table_is_the_plans() -> None:
    plan = planned()
    document = build_keda_by_schedule(
        "x", compute_scale(plan), compute_hourly_pods(plan), ExportSettings(timezone="Asia/Tokyo")
    )
    for hour, pods in enumerate(compute_hourly_pods(plan)):
        assert pods_at(document, hour * 60 + 30) == pods
    assert {trigger["metadata"]["timezone"] for trigger in document["spec"]["triggers"]} == {"Asia/Tokyo"}
    assert document["spec"]["maxReplicaCount"] == max(compute_hourly_pods(plan))
