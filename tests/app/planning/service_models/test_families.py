from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.service_models.families import list_candidate_families, vary_slots, with_parameters
from app.records.service import BatchService, RequestService

# max rate × unloaded latency: the number of concurrent requests
CONCURRENCIES = (0.3, 1.0, 3.0, 20.0, 500.0)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_candidate_families_start_inside_bounds_with_outside_time_below_the_latency(concurrency: float) -> None:
    for family in list_candidate_families(0.02, concurrency / 0.02):
        low, high = family.bounds
        assert all(low <= family.log_parameters)
        assert all(family.log_parameters <= high)
        assert family.service.outside_s < 0.02


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_candidate_slots_cover_the_measured_concurrency(concurrency: float) -> None:
    slots = [
        family.service.slots
        for family in list_candidate_families(0.02, concurrency / 0.02)
        if isinstance(family.service, RequestService)
    ]
    assert slots == sorted(set(slots))
    assert 1 <= len(slots) <= 5
    assert max(slots) >= min(concurrency, 128)


def test_batch_services_are_candidates_only_for_concurrency_above_1() -> None:
    assert not any(isinstance(family.service, BatchService) for family in list_candidate_families(0.02, 40.0))
    assert any(isinstance(family.service, BatchService) for family in list_candidate_families(0.02, 400.0))


def test_candidate_batch_sizes_are_close_to_the_measured_concurrency() -> None:
    families = list_candidate_families(0.02, 80.0)
    assert {family.service.max_batch for family in families if isinstance(family.service, BatchService)} == {4, 8, 16}


def test_families_of_nearby_slots_have_equal_max_throughput_and_start_inside_bounds() -> None:
    for family in list_candidate_families(0.02, 200.0):
        nearby = vary_slots(family)
        if isinstance(family.service, BatchService):
            assert nearby == []
            continue
        assert isinstance(family.service, RequestService)
        slots = family.service.slots
        nearby_slots = [variant.service.slots for variant in nearby]  # type: ignore[union-attr]
        assert nearby_slots == [count for count in (slots - 1, slots + 1) if count]
        for variant in nearby:
            assert variant.service.max_throughput_per_s == pytest.approx(family.service.max_throughput_per_s)  # type: ignore[union-attr]
            low, high = variant.bounds
            assert all(low < variant.log_parameters)
            assert all(variant.log_parameters < high)


def test_family_changes_only_its_own_parameters() -> None:
    family = list_candidate_families(0.02, 40.0)[0]
    assert isinstance(family.service, RequestService)
    moved = family.with_log_parameters(np.log([0.5, 0.3, 0.001]))
    assert family.parameters == ("mean_s", "cv", "outside_s")
    service = moved.service
    assert isinstance(service, RequestService)
    assert (service.mean_s, service.cv, service.outside_s) == pytest.approx((0.5, 0.3, 0.001))
    assert service == RequestService(family.service.slots, service.mean_s, service.cv, service.outside_s)
    assert moved.kind_key == family.kind_key != list_candidate_families(0.02, 400.0)[0].kind_key
    assert with_parameters(RequestService(2, 1.0, 0.5), ("cv",), np.array([math.log(0.7)])).cv == pytest.approx(0.7)


def test_prior_residuals_are_in_standard_deviations_of_the_prior() -> None:
    family = list_candidate_families(0.02, 40.0)[0]
    medians = np.log([prior.median for prior in family.priors.values()])
    sigmas = np.array([prior.log_sd for prior in family.priors.values()])
    assert family.compute_prior_residuals(medians) == pytest.approx([0.0, 0.0, 0.0])
    assert family.compute_prior_residuals(medians + 2 * sigmas) == pytest.approx([2.0, 2.0, 2.0])
