from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from app.analysis.traces import compute_rate_per_s
from app.errors import ProfileError, UsageError
from app.profiles.loading import load_profile, load_traffic
from app.profiles.plan import PlanKeys
from app.profiles.resolved import compute_profile_hash, format_spec
from app.profiles.traffic import SHAPES, WEEKS, Shape, TrafficSettings, Week, build_traffic
from app.records.offers import PlanLimits
from app.records.traffic import Campaign, Dispersion, RecurringSpike, RequestClass, TokenLengths, Traffic
from tests.fakes.profiles import load_endpoint_profile

FULL = """\
users: {count: 20000, requests: 30/h, active: 60%}
shape: evening
week: business
growth: 20%/year
spikes: [{at: "12:00", for: 10m, times: 3, days: [friday, monday]}, {at: "23:55", for: 1h, times: 0.5}]
campaigns: [{from: 2026-11-27, to: 2026-11-30, times: 2.5}]
uncertainty: 10%
dispersion: {index: 8, window: 30s}
cache: 30%
tokens: [{share: 75%, input: 900, output: 120}, {share: 25%, input: 8000.5, output: 0}]
classes:
  - {name: interactive, share: 80%, slo: ["latency_ms.p95 < 50"]}
  - {name: batch, share: 20%, work: 4, slo: ["latency_ms.p95 < 2000", "error_rate < 1%"]}
"""
PROFILE = """\
sizewise: 1
name: scoring
target: {protocol: http, url: "http://127.0.0.1:8000/score"}
workload: {method: GET}
load: {stages: [{rate: 1/s, duration: 1s}]}
"""


def write_file(folder: Path, text: str, name: str = "traffic.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read_traffic(folder: Path, text: str) -> Traffic:
    return build_traffic(load_traffic(write_file(folder, text)))


def settings(**values: Any) -> TrafficSettings:
    return TrafficSettings.model_validate({"peak": "900/s", **values})


@pytest.mark.parametrize("shape", SHAPES)
def test_daily_shape_has_24_shares_and_reaches_the_peak(shape: Shape) -> None:
    assert len(SHAPES[shape]) == 24
    assert max(SHAPES[shape]) == 1.0
    assert min(SHAPES[shape]) > 0


@pytest.mark.parametrize("week", WEEKS)
def test_weekly_shape_has_7_shares_and_reaches_the_peak(week: Week) -> None:
    assert len(WEEKS[week]) == 7
    assert max(WEEKS[week]) == 1.0


def test_traffic_and_plan_limits_are_parsed() -> None:
    traffic = build_traffic(
        TrafficSettings.model_validate({"peak": "600/min", "shape": "evening", "growth": "20%/year"})
    )
    assert (traffic.peak_per_s, traffic.shape, traffic.growth_per_year) == (10.0, "evening", 0.2)
    assert traffic.hourly_share == SHAPES["evening"]
    keys: TypeAdapter[PlanLimits] = TypeAdapter(PlanKeys)
    limits = keys.validate_python(
        {"confidence": "95%", "redundancy": "n+2", "regions": ["r"], "providers": ["p"], "budget": "5 USD/month",
         "max_price_age": "90d"}
    )  # fmt: skip
    assert (limits.confidence, limits.redundancy, limits.regions, limits.providers) == (0.95, 2, ("r",), ("p",))
    assert (limits.budget_usd_per_month, limits.max_price_age_days) == (5.0, 90)


def test_traffic_with_only_a_peak_has_the_workday_shape() -> None:
    assert build_traffic(settings()) == Traffic(900.0, "workday", SHAPES["workday"])


def test_every_traffic_key_is_applied(tmp_path: Path) -> None:
    traffic = read_traffic(tmp_path, FULL)
    assert traffic.peak_per_s == pytest.approx(100.0)
    assert traffic == Traffic(
        peak_per_s=traffic.peak_per_s,
        shape="evening",
        hourly_share=SHAPES["evening"],
        growth_per_year=0.2,
        weekly_share=(1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.3),
        spikes=(RecurringSpike(43_200.0, 600.0, 3.0, (0, 4)), RecurringSpike(86_100.0, 3600.0, 0.5)),
        campaigns=(Campaign(datetime.date(2026, 11, 27), datetime.date(2026, 11, 30), 2.5),),
        uncertainty=0.1,
        dispersion=Dispersion(8.0, 30.0),
        cache_share=0.3,
        tokens=(TokenLengths(0.75, 900.0, 120.0), TokenLengths(0.25, 8000.5, 0.0)),
        classes=(
            RequestClass("interactive", 0.8, 1.0, ("latency_ms.p95 < 50",)),
            RequestClass("batch", 0.2, 4.0, ("latency_ms.p95 < 2000", "error_rate < 1%")),
        ),
    )


def test_single_token_mean_and_bare_dispersion_index_are_accepted() -> None:
    traffic = build_traffic(settings(tokens={"input": 900, "output": 120}, dispersion=8))
    assert traffic.tokens == (TokenLengths(1.0, 900.0, 120.0),)
    assert traffic.dispersion == Dispersion(8.0, 60.0)


def test_custom_daily_and_weekly_shapes_are_accepted() -> None:
    day = [0.5] * 23 + [1]
    traffic = build_traffic(settings(shape=day, week=[1, 1, 1, 1, 1, 0, 0.5]))
    assert (traffic.shape, traffic.hourly_share) == ("custom", tuple(day))
    assert traffic.weekly_share == (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.5)


@pytest.mark.parametrize("text", ["peak: 900/s\n", FULL, "peak: 5/s\nshape: [" + "0.25, " * 23 + "1]\n"])
def test_written_traffic_survives_a_round_trip(tmp_path: Path, text: str) -> None:
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    profile = load_endpoint_profile(write_file(tmp_path, f"{PROFILE}traffic:\n{indented}"))
    reloaded = load_endpoint_profile(write_file(tmp_path, format_spec(profile), "spec.yaml"))
    assert profile.traffic is not None
    assert reloaded.traffic == profile.traffic == load_traffic(write_file(tmp_path, text))
    assert compute_profile_hash(reloaded) == compute_profile_hash(profile)
    assert load_traffic(write_file(tmp_path, f"traffic:\n{indented}")) == profile.traffic


def test_traffic_spec_lists_every_default(tmp_path: Path) -> None:
    profile = load_profile(write_file(tmp_path, f"{PROFILE}traffic: {{peak: 900/s}}\n"))
    assert yaml.safe_load(format_spec(profile))["traffic"] == {
        "peak": "900/s", "users": None, "trace": None, "shape": "workday", "week": "even", "growth": "0%/year",
        "spikes": [], "campaigns": [], "uncertainty": "0%", "dispersion": {"index": 1.0, "window": "1m"},
        "cache": "0%", "prefix_cached": "0%", "tokens": [], "classes": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("peak: 5/s\npeek: 3/s", "traffic.yaml:2: the key 'peek' is unknown in traffic", "Did you mean"),
        ("peak: 5/s\nusers: {count: 3, requests: 1/h}",
         "traffic.yaml:1: traffic: peak and users cannot be combined", "exactly"),
        ("shape: workday", "traffic: no source of traffic is set", "exactly one of peak, users, trace"),
        ("peak: 5", "traffic.yaml:1: traffic.peak: 5 has no unit", "200/s"),
        ("peak: 0/s", "traffic.peak: '0/s' must be above zero", None),
        ("users: {count: 3}", "traffic.users is missing the key requests", None),
        ("users: {count: 1e12, requests: 1/s}", "users generate 1,000,000,000,000 req/s", None),
        ("users: {count: 3, requests: 1/h, active: 0%}", "active must be greater than 0", None),
        ("peak: 5/s\nshape: workdai", "traffic.yaml:2: traffic.shape: the shape 'workdai' is unknown", "'workday'"),
        ("peak: 5/s\nshape: 5", "a shape needs 24 shares, not 5", None),
        ("peak: 5/s\nshape: [1, 0.5]", "a shape needs 24 shares, not 2", None),
        ("peak: 5/s\nweek: [1, 1, 1, 1, 1, 1, 40%]", "'40%' is not a share from 0 to 1", "as 0.4"),
        ("peak: 5/s\nweek: [1, 1, 1, 1, 1, 1, 1.5]", "1.5 is not a share", None),
        ("peak: 5/s\nweek: [1, 1, 1, 1, 1, 1, true]", "True is not a share", None),
        ("peak: 5/s\nweek: [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0]", "the largest share of a week is 0.5", "Divide"),
        ("peak: 5/s\nweek: trace", "week requires a trace", None),
        ('peak: 5/s\nspikes: [{at: "24:00", for: 1m, times: 3}]', "spikes\\[0\\].at: '24:00' is not a time", "12:00"),
        ('peak: 5/s\nspikes: [{at: "12:00", for: 25h, times: 3}]', "25h exceeds the maximum of 1d", None),
        ('peak: 5/s\nspikes: [{at: "12:00", for: 1m, times: 0}]', "times must be greater than 0", None),
        ('peak: 5/s\nspikes: [{at: "12:00", for: 1m, times: 2, days: []}]', "days must", None),
        ('peak: 5/s\nspikes:\n  - at: "12:00"\n    for: 1m\n    times: 2\n    days: [fryday]',
         "traffic.yaml:6: traffic.spikes\\[0\\].days\\[0\\]: 'fryday' is not a valid day", "'friday'"),
        ('peak: 5/s\nspikes: [{at: "12:00", for: 1m, times: 2, dyas: [friday]}]',
         "the key 'dyas' is unknown", "'days'"),
        ("peak: 5/s\ncampaigns: [{from: 2026-02-30, to: 2026-12-01, times: 2}]", "'2026-02-30' is not a date", None),
        ("peak: 5/s\ncampaigns: [{from: 2026-12-02, to: 2026-12-01, times: 2}]", "before it starts", None),
        ("peak: 5/s\ncampaigns: [{from: 2026-12-02, to: 2026-12-01}]",
         "campaigns\\[0\\] is missing the key times", None),
        ("peak: 5/s\ncache: 100%", "traffic.cache must be less than 1", None),
        ("peak: 5/s\nuncertainty: 0.1", "has no unit", "90%"),
        ("peak: 5/s\ndispersion: 0.5", "traffic.dispersion.index must be greater than or equal to 1", None),
        ("peak: 5/s\ndispersion: {index: 2, window: 2h}", "2h exceeds the maximum of 1h", None),
        ("peak: 5/s\ntokens: [{share: 50%, input: 5, output: 3}]",
         "the shares of tokens add up to 50%, not 100%", None),
        ("peak: 5/s\ntokens: {input: 0, output: 3}", "tokens\\[0\\].input must be greater than 0", None),
        ("peak: 5/s\nclasses: [{name: a, share: 50%}, {name: a, share: 50%}]",
         "two traffic classes are named 'a'", None),
        ("peak: 5/s\nclasses: [{name: a, share: 50%}, {name: b, share: 60%}]",
         "the shares of classes add up to 110%, not 100%", None),
        ('peak: 5/s\nclasses: [{name: a, share: 100%, slo: ["latncy_ms.p95 < 5"]}]', "latncy_ms", "latency_ms"),
        ("trace: none.csv", "traffic.yaml:1: traffic.trace: the file ", None),
        ("- 1", "not traffic: expected `key: value` lines", "peak: 900/s"),
        ("", "not traffic: expected `key: value` lines", None),
        ("traffic: {peak: 5/s}\nname: x", "traffic.yaml:2: the key 'name' is unknown", None),
        ("traffic: 5", "traffic must be a mapping of keys", None),
        ("peak: 5/s\npeak: 6/s", "traffic.yaml:2: the key 'peak' is duplicated", None),
    ],
)  # fmt: skip
def test_invalid_traffic_is_reported_with_its_line(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        load_traffic(write_file(tmp_path, text + "\n"))
    assert hint is None or hint in str(caught.value.hint)


def build_bursty_trace(days: int) -> str:
    """Return a trace from Monday 00:00 on: 20 requests/min from 12:00 to 18:00, else 5, times a gamma factor of shape 2
    each minute."""
    dice = np.random.default_rng(1)
    minutes = np.arange(days * 1440)
    is_busy = (minutes // 60 % 24 >= 12) & (minutes // 60 % 24 < 18)
    counts = dice.poisson(np.where(is_busy, 20.0, 5.0) * dice.gamma(2.0, 0.5, minutes.size))
    at_s = np.sort(np.repeat(minutes * 60.0, counts) + dice.uniform(0, 60, counts.sum()))
    monday = 1_780_272_000
    rows = "".join(f"{monday + at:.3f},100,10\n" for at in (0.0, *at_s))
    return f"timestamp,input_tokens,output_tokens\n{rows}"


def test_traffic_of_a_trace_has_peak_shape_week_dispersion_and_token_lengths(tmp_path: Path) -> None:
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress(build_bursty_trace(9).encode()))
    traffic = build_traffic(load_traffic(tmp_path / "trace.csv.gz"))
    assert traffic == read_traffic(tmp_path, "trace: trace.csv.gz")
    assert traffic.trace is not None
    assert traffic.peak_per_s == traffic.trace.peak_1h_per_s
    assert 20 / 60 < traffic.peak_per_s < 35 / 60
    hours = np.array(traffic.hourly_share)
    assert hours[12:18].mean() > 3 * hours[:12].mean()
    assert traffic.weekly_share == traffic.trace.weekly_share
    assert min(traffic.weekly_share) > 0.7
    assert traffic.dispersion.index == pytest.approx(1 + traffic.peak_per_s * 60 / 2.0, rel=0.15)
    assert traffic.tokens == (TokenLengths(1.0, 100.0, 10.0),)


def test_traffic_values_override_those_of_the_trace(tmp_path: Path) -> None:
    write_file(tmp_path, build_bursty_trace(2), "trace.csv")
    traffic = read_traffic(tmp_path, "trace: trace.csv\nshape: flat\ndispersion: 3\ntokens: {input: 5, output: 6}\n")
    assert traffic.hourly_share == (1.0,) * 24
    assert traffic.dispersion == Dispersion(3.0)
    assert traffic.tokens == (TokenLengths(1.0, 5.0, 6.0),)
    assert traffic.weekly_share == (1.0,) * 7  # two days are too few for a weekly shape


def test_short_trace_is_extrapolated_to_the_whole_day(tmp_path: Path) -> None:
    traffic = read_trace_text(tmp_path, "timestamp\n" + "".join(f"{at}\n" for at in range(100)))
    assert traffic.peak_per_s == 1.0
    assert (traffic.shape, traffic.hourly_share) == ("trace", (1.0,) * 24)
    assert traffic.dispersion == Dispersion()


def read_trace_text(folder: Path, text: str) -> Traffic:
    return build_traffic(load_traffic(write_file(folder, text, "trace.csv")))


def test_trace_path_is_relative_to_the_traffic_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write_file(tmp_path, "timestamp\n1\n2\n", "trace.csv")
    path = write_file(tmp_path / "below", "trace: ../trace.csv\n")
    assert load_traffic(path).trace == tmp_path / "trace.csv"


def test_errors_of_a_trace_are_reported_with_its_file_and_line(tmp_path: Path) -> None:
    trace = write_file(tmp_path, "timestamp\n2\n1\n", "trace.csv")
    with pytest.raises(UsageError, match=r"^\S*trace.csv:3: the request is earlier"):
        load_traffic(trace)
    with pytest.raises(ProfileError, match=r"traffic.yaml:1: traffic: \S*trace.csv:3: the request is earlier"):
        load_traffic(write_file(tmp_path, "trace: trace.csv\n"))
    with pytest.raises(UsageError, match="does not exist"):
        load_traffic(tmp_path / "none.csv")


def test_missing_trace_of_a_stored_profile_is_reported_when_traffic_is_built(tmp_path: Path) -> None:
    trace = write_file(tmp_path, "timestamp\n1\n2\n", "trace.csv")
    path = write_file(tmp_path, f"{PROFILE}traffic: {{trace: trace.csv}}\n")
    before = compute_profile_hash(load_profile(path))
    write_file(tmp_path, "timestamp\n1\n3\n", "trace.csv")
    assert compute_profile_hash(load_profile(path)) != before
    trace.unlink()
    stored = load_endpoint_profile(path, files_must_exist=False).traffic
    assert stored is not None
    with pytest.raises(UsageError, match="does not exist"):
        build_traffic(stored)


def test_trace_with_another_peak_retains_its_rows_unless_dispersion_is_set(tmp_path: Path) -> None:
    write_file(
        tmp_path, "timestamp,input_tokens,output_tokens\n" + "".join(f"{at},7,3\n" for at in range(100)), "a.csv"
    )
    traffic = read_traffic(tmp_path, "trace: a.csv\npeak: 5/s\n")
    assert (traffic.peak_per_s, traffic.trace and traffic.trace.mean_per_s) == (5.0, 1.0)
    assert traffic.rows is not None
    assert compute_rate_per_s(traffic.rows) == pytest.approx(1.0)
    assert (
        read_traffic(tmp_path, "trace: a.csv\ndispersion: 3\n").rows is None
    )  # the stated dispersion replaces the rows of the trace
    stated = read_traffic(tmp_path, "trace: a.csv\ntokens: {input: 5, output: 6}\n").rows
    assert stated is not None
    assert stated.input_tokens == b""
