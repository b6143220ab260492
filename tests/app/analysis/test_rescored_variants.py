from __future__ import annotations

import pytest

from app.analysis.objectives import parse_objective
from app.analysis.rescored_variants import rescore_variants
from app.errors import UsageError
from tests.fakes.local_runs import local_run, variant
from tests.fakes.searched_runs import searched_run


def test_a_stricter_slo_makes_another_variant_the_best_and_leaves_all_stages_as_they_were() -> None:
    own = local_run().result
    again = rescore_variants(own, (parse_objective("service_ms.p99 < 1.5"),))
    assert own.local is not None
    assert again.local is not None
    assert (own.local.best, again.local.best) == (variant("int8-static", 4), variant("int8-static", 1))
    assert again.stages == own.stages
    assert [one.objective.text for one in again.slo] == ["service_ms.p99 < 1.5"]
    assert again.slo[0].judgement == "PASS"
    assert again.rescored is not None
    assert again.exit.code == 0


def test_where_none_meets_it_the_nearest_is_told_of_and_the_exit_is_10() -> None:
    again = rescore_variants(local_run().result, (parse_objective("service_ms.p99 < 0.1"),))
    assert again.local is not None
    assert (again.local.best, again.local.best_reason) == (None, "missed")
    assert again.slo[0].judgement == "FAIL"
    assert again.exit.code == 10


def test_a_search_was_made_for_its_own_slo() -> None:
    with pytest.raises(UsageError, match="searched for its own SLO"):
        rescore_variants(searched_run().result, (parse_objective("latency_ms.p95 < 5"),))
