from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.service_models.families import list_candidate_families, vary_slots, with_parameters
from app.records.service import BatchService, RequestService

# most per second × unloaded latency: how many requests are in work
IN_WORK = (0.3, 1.0, 3.0, 20.0, 500.0)


@pytest.mark.parametrize("in_work", IN_WORK)
def test_every_law_tried_begins_inside_its_bounds_and_near_the_measurement(in_work: float) -> None:
    for law in list_candidate_families(0.02, in_work / 0.02):
        low, high = law.bounds
        assert all(low <= law.log_parameters)
        assert all(law.log_parameters <= high)
        assert law.service.outside_s < 0.02


@pytest.mark.parametrize("in_work", IN_WORK)
def test_slots_are_those_that_could_answer_the_most_at_the_unloaded_latency(in_work: float) -> None:
    slots = [
        law.service.slots
        for law in list_candidate_families(0.02, in_work / 0.02)
        if isinstance(law.service, RequestService)
    ]
    assert slots == sorted(set(slots))
    assert 1 <= len(slots) <= 5
    assert max(slots) >= min(in_work, 128)


def test_what_one_at_a_time_explains_is_no_batch() -> None:
    assert not any(isinstance(law.service, BatchService) for law in list_candidate_families(0.02, 40.0))
    assert any(isinstance(law.service, BatchService) for law in list_candidate_families(0.02, 400.0))


def test_batches_far_larger_than_what_is_in_work_are_not_tried() -> None:
    laws = list_candidate_families(0.02, 80.0)
    assert {law.service.max_batch for law in laws if isinstance(law.service, BatchService)} == {4, 8, 16}


def test_nearby_slots_keep_the_highest_rate_and_begin_inside_their_bounds() -> None:
    for law in list_candidate_families(0.02, 200.0):
        nearby = vary_slots(law)
        if isinstance(law.service, BatchService):
            assert nearby == []
            continue
        assert isinstance(law.service, RequestService)
        slots = law.service.slots
        assert [one.service.slots for one in nearby] == [one for one in (slots - 1, slots + 1) if one]  # type: ignore[union-attr]
        for one in nearby:
            assert one.service.max_throughput_per_s == pytest.approx(law.service.max_throughput_per_s)  # type: ignore[union-attr]
            low, high = one.bounds
            assert all(low < one.log_parameters)
            assert all(one.log_parameters < high)


def test_a_law_moves_only_what_it_names() -> None:
    law = list_candidate_families(0.02, 40.0)[0]
    assert isinstance(law.service, RequestService)
    there = law.with_log_parameters(np.log([0.5, 0.3, 0.001]))
    assert law.parameters == ("mean_s", "cv", "outside_s")
    service = there.service
    assert isinstance(service, RequestService)
    assert (service.mean_s, service.cv, service.outside_s) == pytest.approx((0.5, 0.3, 0.001))
    assert service == RequestService(law.service.slots, service.mean_s, service.cv, service.outside_s)
    assert there.kind_key == law.kind_key != list_candidate_families(0.02, 400.0)[0].kind_key
    assert with_parameters(RequestService(2, 1.0, 0.5), ("cv",), np.array([math.log(0.7)])).cv == pytest.approx(0.7)


def test_the_prior_pulls_by_its_sigmas() -> None:
    law = list_candidate_families(0.02, 40.0)[0]
    medians = np.log([prior.median for prior in law.priors.values()])
    sigmas = np.array([prior.log_sd for prior in law.priors.values()])
    assert law.compute_prior_residuals(medians) == pytest.approx([0.0, 0.0, 0.0])
    assert law.compute_prior_residuals(medians + 2 * sigmas) == pytest.approx([2.0, 2.0, 2.0])
