from __future__ import annotations

import datetime
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.traces import compute_rate_per_s, compute_trace_statistics, select_busiest_rows
from app.planning.fleets import plan_fleets
from app.planning.offers.candidates import build_rejected_fleet
from app.planning.plan_notes import describe_price_coverage, find_nearest_excluded
from app.records.offers import PlanLimits, RequestedPrice
from app.records.planning_inputs import PlanningInputs
from app.records.service import FitError, RequestService
from app.records.traffic import Dispersion, TokenLengths
from tests.fakes.offers import catalog_of, offer, planning_inputs, target
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.small_plan import planning_inputs as modelled


def get_notes(inputs: PlanningInputs) -> str:
    return "\n".join(plan_fleets(inputs, estimate_only=True).notes)


def test_notes_report_the_measured_capacity_and_the_missing_service_model() -> None:
    notes_text = get_notes(planning_inputs())
    assert "The capacity was measured on acme/c16: 100 req/s within the SLO." in notes_text
    assert "without the benefit of a shared queue: too few rates were measured." in notes_text
    assert "The monthly cost covers 730 hours of every instance at the on-demand price. Disk, network," in notes_text
    assert "to today's mean rate of 2,000 req/s." in notes_text


def test_notes_report_an_assumed_capacity_and_the_notes_of_the_target() -> None:
    notes_text = get_notes(planning_inputs(target(is_assumed=True, notes=("Read from a picture.",))))
    assert "The capacity of run-1 on acme/c16 is assumed: 100 req/s within the SLO.\nRead from a picture." in notes_text


def test_notes_report_the_service_model_and_its_median_error() -> None:
    fit = fit_of(fitted_service(RequestService(2, 0.02, 0.5)))
    assert (
        "2 requests at a time, 20 ms each, CV 0.5, and 0 ms overhead; no measured percentiles to compare"
        in get_notes(planning_inputs(target(fit=fit)))
    )
    fit_with_error = replace(fit, errors=(FitError(1.0, "p50", 0.1, 0.11, 1.0),), median_error=0.1)
    assert "median error against measured percentiles 10 %" in get_notes(planning_inputs(target(fit=fit_with_error)))


@pytest.mark.parametrize(
    ("traffic", "sentence"),
    [
        ({"cache_share": 0.3}, "30 % of requests are assumed to be served from a cache."),
        (
            {"prefix_cached_share": 0.6},
            "The prefix cache of each replica is assumed to serve 60 % of the input tokens, in each request alike: "
            "they have no prefill, but take space in the KV cache. Whether a cache of that size keeps them depends on "
            "the traffic and on its routing, which the plan does not check.",
        ),
        ({"growth_per_year": 0.5}, "The fleet is sized for the peak in 12 months, 3,000 req/s."),
        ({"dispersion": Dispersion(9.0, 60.0)}, "counts over 60 s is 9 times that of a Poisson process"),
    ],
)
def test_cache_share_growth_and_dispersion_have_one_note_each(traffic: dict[str, Any], sentence: str) -> None:
    traffic_notes = get_notes(planning_inputs(**traffic)).splitlines()
    assert sum(sentence in note for note in traffic_notes) == 1
    assert len(traffic_notes) == len(get_notes(planning_inputs()).splitlines()) + 1


def test_measured_token_lengths_have_a_note_unless_the_traffic_sets_lengths() -> None:
    measured = target(lengths=(500.0, 120.0))
    assert "as long as those of run-1: on average 500 input and 120 output tokens" in get_notes(
        planning_inputs(measured)
    )
    assert "as long as those of" not in get_notes(planning_inputs(measured, tokens=(TokenLengths(1.0, 90.0, 9.0),)))


def test_note_of_an_infeasible_plan_starts_with_the_offer_closest_to_qualifying() -> None:
    offers = (offer("a", region="x"), offer("b", region="y"), offer("c", region="y"))
    notes_text = get_notes(planning_inputs(catalog=catalog_of(*offers), limits=PlanLimits(regions=("z",))))
    nearest = "No instance type qualifies: region x is excluded by plan.regions (acme/a@x, the closest to qualifying)."
    assert (
        f"{nearest} Other offers are excluded for these reasons: region y is excluded by plan.regions (2)."
        in notes_text
    )
    limits = PlanLimits(regions=("z",), budget_usd_per_month=10.0)
    notes_text = get_notes(planning_inputs(catalog=catalog_of(*offers, offer("d", region="z")), limits=limits))
    assert re.search(
        r"No instance type qualifies: a fleet of \d+ costs .* above plan\.budget of \$10/month \(acme/d@z, the closest "
        r"to qualifying\)",
        notes_text,
    )
    old = offer("d", region="z", as_of=datetime.date(2026, 1, 1))
    notes_text = get_notes(
        planning_inputs(catalog=catalog_of(*offers, old), limits=PlanLimits(regions=("z",), max_price_age_days=90))
    )
    assert (
        "No instance type qualifies: the price from 2026-01-01 is 212 days old, above plan.max_price_age of 90d "
        "(acme/d@z," in notes_text
    )
    acme_only = PlanLimits(providers=("acme",))
    fit = fit_of(fitted_service(RequestService(1, 0.01, 0.5)))
    notes_text = get_notes(planning_inputs(target(fit=fit), catalog=catalog_of(offer("c", provider="aws"), offer("d")),
                          limits=acme_only, slo=("ttft_ms.p95 < 100",)))  # fmt: skip
    assert (
        "No instance type qualifies: the SLO limits p95 TTFT, but run-1 has no token latencies: measure" in notes_text
    )
    assert "No instance type qualifies: the catalog is empty." in get_notes(planning_inputs(catalog=catalog_of()))


def test_notes_report_analytical_sizing_and_vcpu_definition() -> None:
    notes_text = get_notes(modelled())
    assert "Lower-ranked offers are sized analytically" in notes_text
    assert "A vCPU is a core or a hyperthread" in notes_text
    assert "A vCPU" not in get_notes(planning_inputs())


def test_notes_mark_declared_hardware() -> None:
    notes_text = get_notes(planning_inputs(target(is_hardware_declared=True)))
    assert (
        "The capacity was measured on acme/c16 (as declared): 100 req/s within the SLO. The run does not report"
        in notes_text
    )


@pytest.mark.parametrize(
    ("rate_factor", "sentence"),
    [
        (1.0, "replaying the whole trace (10 min) as recorded."),
        (0.4, "40 % of its level, a random part of its requests."),
        (3.0, "3 times its level, built from independent copies"),
    ],
)
def test_notes_report_how_the_trace_is_replayed_and_its_burstiness(rate_factor: float, sentence: str) -> None:
    at_s = np.arange(0.0, 600.0, 0.5)
    rows, statistics = select_busiest_rows(at_s), compute_trace_statistics(at_s)
    notes_text = get_notes(
        planning_inputs(peak_per_s=rate_factor * compute_rate_per_s(rows), rows=rows, trace=statistics)
    )
    assert sentence in notes_text
    assert "times the variance over 1 s" in notes_text
    assert f"its busiest second had {statistics.peak_1s_per_s:g} req/s" in notes_text
    assert "shorter than an hour, so the uncertainty about the rest of the peak hour widens the interval." in notes_text
    assert "prefix cache" not in notes_text
    with_shared_prefixes = msgspec.structs.replace(statistics, prefix_hit_share=0.375)
    assert "A prefix cache could serve at most 37.5 % of the trace's prompt tokens" in get_notes(
        planning_inputs(rows=rows, trace=with_shared_prefixes)
    )
    assert plan_fleets(planning_inputs(rows=rows, trace=statistics), estimate_only=True).traffic.rows is None


def test_notes_report_the_sampled_share_of_a_trace() -> None:
    rows = select_busiest_rows(np.arange(0.0, 3700.0, 0.5), max_rows=720)
    notes_text = get_notes(planning_inputs(rows=rows))
    assert "replaying the trace's busiest hour" in notes_text
    assert "A random 10 % of the trace's requests are replayed instead of all." in notes_text
    assert "shorter than an hour" not in notes_text


@pytest.mark.parametrize(("price", "is_stated"), [("on-demand", False), ("spot", True), ("reserved-1y", False)])
def test_note_names_providers_if_only_some_offers_have_the_requested_price(
    price: RequestedPrice, is_stated: bool
) -> None:
    offers = catalog_of(
        offer("a", reserved_1y_usd_per_hour=0.5), offer("b", provider="other", spot_usd_per_hour=0.2,
        reserved_1y_usd_per_hour=0.5),
    )  # fmt: skip
    coverage_notes = list(describe_price_coverage(planning_inputs(catalog=offers, limits=PlanLimits(price=price))))
    assert bool(coverage_notes) is is_stated
    if is_stated:
        assert coverage_notes[0].startswith("Only 1 of 2 offers, of other, have a spot price")
        assert (
            coverage_notes[0]
            in plan_fleets(planning_inputs(catalog=offers, limits=PlanLimits(price=price)), estimate_only=True).notes
        )


def test_nearest_excluded_offer_has_enough_memory_for_the_model() -> None:
    today = datetime.date(2026, 12, 3)
    small = build_rejected_fleet(offer("acme/small"), "too few", today, reason_id="accelerator_count")
    uncertain = build_rejected_fleet(offer("acme/large"), "too uncertain", today)
    assert find_nearest_excluded([small, uncertain]).offer == uncertain.offer
