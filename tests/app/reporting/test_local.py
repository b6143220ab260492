from __future__ import annotations

import msgspec

from app.records.result import Result
from app.reporting.local import local_section, model_section, shown_variant
from tests.fakes.local_runs import SLO, local_run, one_variant, only_failed, variant
from tests.fakes.results import full_run

_RESULT = local_run().result


def test_every_variant_is_a_row_those_that_never_ran_too() -> None:
    section = local_section(_RESULT)
    assert section is not None
    assert [(one.name, one.state) for one in section.variants] == [
        ("cpu as-is, batch 1", "measured"),
        ("cpu as-is, batch 4", "measured"),
        ("cpu as-is, batch 16", "measured"),
        ("cpu int8-static, batch 1", "measured"),
        ("cpu int8-static, batch 4", "best"),
        ("cpu int8-static, batch 16", "left out"),
        ("cuda as-is, batch 1", "ended early"),
    ]
    assert (section.best, section.shown) == ("cpu int8-static, batch 4", "cpu int8-static, batch 4")
    assert [len(one.scenarios) for one in section.variants] == [2, 1, 1, 2, 1, 0, 0]
    assert [law.family for law in section.laws] == ["cpu as-is"]


def test_a_model_that_was_served_is_no_local_run() -> None:
    served = full_run().result
    assert local_section(served) is None
    assert model_section(served) is not None
    assert model_section(_RESULT) is None


def test_a_run_that_ended_before_its_first_variant_is_a_section_without_rows() -> None:
    assert _RESULT.local is not None
    empty: Result = msgspec.structs.replace(
        _RESULT, local=msgspec.structs.replace(_RESULT.local, variants=(), best=None, batch_laws=()), stages=()
    )
    section = local_section(empty)
    assert section is not None
    assert (section.variants, section.shown, section.common) == ((), None, "")


def test_without_a_best_one_the_variant_is_shown_that_was_judged() -> None:
    assert _RESULT.local is not None
    judged = msgspec.structs.replace(_RESULT.slo[0], stage=_RESULT.stages[2].name)
    local = msgspec.structs.replace(_RESULT.local, best=None)
    assert shown_variant(msgspec.structs.replace(_RESULT, local=local, slo=(judged,))) == variant("as-is", 4)
    assert shown_variant(msgspec.structs.replace(_RESULT, local=local, slo=())) == variant("as-is", 1)
    assert shown_variant(only_failed().result) is None
    assert SLO.text == judged.objective.text


def test_a_variant_alone_is_called_what_it_is() -> None:
    section = local_section(one_variant().result)
    assert section is not None
    (only,) = section.variants
    assert (only.name, only.family, only.state, only.slo) == ("digits cpu as-is, batch 1", "digits", "best", None)
