from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.accuracy import accuracy_of
from app.analysis.objectives import parse_objective
from app.planning.local_service import local_targets
from app.records.estimate import Estimate
from app.records.local import BatchLaw, LocalResult, VariantFacts
from app.records.plan_question import MeasuredTarget
from app.records.result import Hardware
from app.records.service import BatchService, RequestService
from tests.fakes.local_runs import facts, run_of, stage, variant

HERE = Hardware("here", vcpus=2)
PLAIN = variant()
LAW = BatchLaw(
    variant=PLAIN, t0_ms=Estimate(8.0, (7.0, 9.0)), t1_ms=Estimate(1.0, (0.9, 1.1)), r2=0.99, batches=(1, 4, 16)
)


def targets(law: BatchLaw = LAW, of: VariantFacts | None = None, slo_ms: float = 60.0) -> tuple[MeasuredTarget, ...]:
    local = LocalResult(variants=(of or facts(PLAIN),), batch_laws=(law,))
    result = run_of((stage(PLAIN, "single-stream", 9.0),), local).result
    return local_targets("run", result, HERE, (parse_objective(f"latency_ms.p95 < {slo_ms}"),))


def service(found: tuple[MeasuredTarget, ...]) -> BatchService | RequestService:
    (one,) = found
    assert one.fit is not None
    law = one.fit.laws[0].service
    assert isinstance(law, BatchService | RequestService)
    return law


def test_a_batch_law_becomes_a_server_that_batches_and_all_of_it_is_assumed() -> None:
    found = targets()
    law = service(found)
    assert isinstance(law, BatchService)
    assert (law.fixed_s, law.per_item_s) == pytest.approx((0.008, 0.001))
    (one,) = found
    assert one.is_assumed
    assert one.name == "run: digits cpu as-is, without a server"
    assert 0 < one.curve.max_rate_per_s < law.most_per_s
    assert one.curve.cores_used == 1.0
    assert one.fit is not None
    assert one.fit.highest_per_s == law.most_per_s
    first, second = one.fit.laws[0].log_covariance
    assert math.sqrt(first[0]) == pytest.approx(math.log(9 / 7) / (2 * 1.96), rel=1e-3)
    assert second[0] == 0.0


def test_the_largest_batch_is_the_measured_one_that_carries_most_inside_the_slo() -> None:
    loose, tight = service(targets(slo_ms=500.0)), service(targets(slo_ms=20.0))
    assert isinstance(loose, BatchService)
    assert isinstance(tight, BatchService)
    assert loose.max_batch == 16
    assert tight.max_batch in (1, 4)


def test_where_no_law_holds_calls_of_one_row_are_what_a_request_takes() -> None:
    law = service(targets(replace(LAW, reason="times do not lie on a line")))
    assert isinstance(law, RequestService)
    assert law.slots == 1
    assert law.mean_s == pytest.approx(0.009, rel=0.02)
    assert law.cv == pytest.approx(1 / 30, rel=0.2)  # gamma times of shape 900


def test_a_variant_that_failed_or_lost_accuracy_or_misses_the_slo_is_no_target() -> None:
    reference = np.array([1.0] * 450)
    right = {kept: np.array([1.0] * kept + [0.0] * (450 - kept)) for kept in (440, 449)}
    wrong, fine = (facts(PLAIN, accuracy=accuracy_of(right[kept], reference, "top-1")) for kept in (440, 449))
    assert targets(of=wrong) == ()
    assert len(targets(of=fine)) == 1
    assert targets(of=facts(PLAIN, failure="out of memory")) == ()
    assert targets(slo_ms=5.0) == ()


def test_a_run_of_an_endpoint_has_none() -> None:
    result = replace(run_of((), LocalResult(variants=())).result, local=None)
    assert local_targets("run", result, HERE, ()) == ()
