from __future__ import annotations

import functools
import itertools
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.planning.exports.files import export_plan
from app.planning.exports.settings import (
    Autoscaler,
    ExportKind,
    ExportSettings,
    Predictor,
    check_setting_is_used,
    fill_in_settings,
    get_value,
    list_placeholders,
)
from app.planning.fleets import plan_fleets
from app.records.plan import Plan
from app.records.server import MeasuredServer
from tests.app.planning.exports.planned import build_plan, with_fleet, without_recommendation
from tests.fakes import small_plan


@pytest.mark.parametrize(
    "invalid",
    [
        {"namespace": "My Team"}, {"namespace": ""}, {"namespace": "a" * 64}, {"namespace": "a\nb"}, {"port": 0},
        {"ready_port": 65536},
        {"port": 65536}, {"node_share": 0.0}, {"node_share": 1.1}, {"start_early_minutes": 60},
        {"start_early_minutes": -1}, {"start_within_s": 0.0}, {"start_within_s": float("nan")},
        {"timezone": "Europe/Berlin; x"}, {"timezone": ""}, {"accelerator_resource": "gpu"},
        {"accelerator_resource": "nvidia.com/"},
    ],
)  # fmt: skip
def test_invalid_export_settings_are_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportSettings(**invalid)


def test_missing_settings_have_listed_placeholders() -> None:
    defaults = ExportSettings()
    assert get_value(defaults, "image").startswith("REPLACE-ME/")
    placeholders = list_placeholders(defaults, "image", "port")
    assert [sentence.partition(": ")[0] for sentence in placeholders] == ["REPLACE-ME/your-server:tag", "8080"]
    settings = ExportSettings(image="mine", port=8080)
    assert (get_value(settings, "image"), settings.port_or_default, list_placeholders(settings, "image", "port")) == (
        "mine",
        8080,
        [],
    )


SERVER = MeasuredServer("Fraud scoring", 8000, "/health", 9001, "/alive")


def build_measured_plan(server: MeasuredServer | None = SERVER) -> Plan:
    return msgspec.structs.replace(with_fleet(build_plan(), memory_gib=32.0), server=server)


def test_missing_settings_are_filled_in_from_measured_server_and_instance() -> None:
    assert fill_in_settings(ExportSettings(), build_measured_plan()) == ExportSettings(
        name="Fraud scoring", port=8000, ready_path="/health", ready_port=9001, live_path="/alive",
        instance_memory_gib=32.0,
    )  # fmt: skip
    assert fill_in_settings(ExportSettings(), build_measured_plan(None)) == ExportSettings(instance_memory_gib=32.0)
    assert fill_in_settings(ExportSettings(), without_recommendation(build_plan())) == ExportSettings()


def test_explicit_settings_override_the_plan() -> None:
    settings = ExportSettings(
        name="mine", port=1, ready_path="/r", ready_port=2, live_path="/l", instance_memory_gib=1.0
    )  # fmt: skip
    assert fill_in_settings(settings, build_measured_plan()) == settings
    with_ready_path = fill_in_settings(ExportSettings(ready_path="/r"), build_measured_plan())
    assert (with_ready_path.ready_path, with_ready_path.ready_port) == ("/r", None), (
        "the measured port is that of the measured path"
    )


def test_dns_name_defaults_to_sizewise_or_the_server_name() -> None:
    assert ExportSettings().dns_name == "sizewise"
    assert fill_in_settings(ExportSettings(), build_measured_plan()).dns_name == "fraud-scoring"


CHANGES: dict[str, Any] = {
    "name": "other", "namespace": "ns", "autoscaler": "hpa", "image": "x/y:2", "port": 1234, "ready_path": "/r",
    "ready_port": 99, "live_path": "/l", "start_within_s": 100.0, "model_uri": "s3://other", "predictor": "container",
    "metric_name": "m", "metric_query": "q", "prometheus_url": "http://p:1", "timezone": "Europe/Berlin",
    "start_early_minutes": 3, "instance_memory_gib": 99.0, "node_share": 0.5,
}  # fmt: skip


@functools.cache
def plan() -> Plan:
    return plan_fleets(small_plan.planning_inputs(), estimate_only=True)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", get_args(ExportKind))
def test_a_setting_is_accepted_where_it_changes_the_export(name: str, kind: ExportKind) -> None:
    for autoscaler, predictor in itertools.product(get_args(Autoscaler), get_args(Predictor)):
        base = ExportSettings(
            image="a/b:1", model_uri="s3://x/y", ready_path="/ready", autoscaler=autoscaler, predictor=predictor
        )
        after = replace(base, **{name: CHANGES[name]})
        is_same = base == after or (kind == "kserve" and {base.autoscaler, after.autoscaler} == {"hpa", "keda"})
        if is_same or (kind == "kserve" and "scheduled" in (base.autoscaler, after.autoscaler)):
            continue  # KServe autoscales in one way only, and has no schedule
        changed = export_plan(plan(), kind, base) != export_plan(plan(), kind, after)
        try:
            check_setting_is_used(name, kind, after)
        except UsageError:
            assert not changed
        else:
            assert changed
