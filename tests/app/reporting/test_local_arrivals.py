from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.records.result import Estimate, Trust, Verdict
from app.reporting.local_arrivals import arrivals_of, inferences_words
from tests.fakes.local_runs import facts, variant
from tests.fakes.searched_runs import searched_run, searched_stage

_RESULT = searched_run().result
assert _RESULT.local is not None
_FACTS = _RESULT.local.variants[0]


@pytest.mark.parametrize("trust", ["VALID", "WARN", "INVALID"])
def test_the_most_arrivals_are_as_sure_as_the_stage_that_held(trust: Trust) -> None:
    most = arrivals_of(_FACTS, [replace(searched_stage(400.0, 4.0), verdict=Verdict(trust))])
    assert most is not None
    assert (most.value, most.unit, most.trust) == (400.0, "calls/s", trust)


def test_where_nobody_searched_there_is_no_number() -> None:
    assert arrivals_of(facts(variant()), []) is None
    assert inferences_words(facts(variant("as-is", 4))) == ""


def test_calls_of_several_rows_are_told_in_inferences() -> None:
    assert inferences_words(_FACTS) == "4 rows each: 1,600/s"
    assert inferences_words(facts(variant(), server_per_s=Estimate(400.0))) == ""
