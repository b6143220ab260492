from __future__ import annotations

from app.reporting.carried import carried_words
from tests.fakes.local_runs import local_run, only_failed
from tests.fakes.results import full_run
from tests.fakes.searched_runs import hopeless_run, searched_run


def test_of_an_endpoint_it_is_its_max_rate() -> None:
    found = full_run().result.max_rate
    assert found is not None
    assert found.per_s.value is not None
    assert carried_words(full_run().result) == f"{found.per_s.value:.0f}/s"


def test_of_a_local_model_it_is_what_its_best_variant_does() -> None:
    assert carried_words(local_run().result) == "1,600/s, cpu int8-static, batch 4"
    assert carried_words(searched_run(alone=False).result) == "400 calls/s, int8-static, batch 4"


def test_where_nothing_was_found_there_are_no_words() -> None:
    assert carried_words(only_failed().result) is None
    assert carried_words(hopeless_run().result) is None
