from __future__ import annotations

import pytest

from app.reporting.tokens import token_rows
from tests.fakes.results import full_run
from tests.fakes.traffic import streaming_run


def test_stages_with_tokens_have_a_row_of_them() -> None:
    stage = streaming_run().result.stages[0]
    (row,) = token_rows([stage])
    assert row.stage == "chat"
    assert row.ttft_p95.value == stage.metrics["ttft_ms"]["p95"].value
    assert row.itl_p99.value == stage.metrics["itl_ms"]["p99"].value
    assert row.tokens_per_s.unit == "tokens/s"
    assert row.coalesced.value == pytest.approx(0.03, abs=0.01)


def test_plain_answers_have_none() -> None:
    assert token_rows(full_run().result.stages) == ()
