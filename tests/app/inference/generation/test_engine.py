from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import MeasurementError
from app.inference.generation.engine import FinishReason, GenerationEngine, GenerationTask, TokenEvent
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.runtime import open_generative_model
from tests.fakes import decoders


def test_failed_cancellation_of_a_request_does_not_affect_other_requests(tmp_path: Path) -> None:
    model = open_generative_model(read_model_folder(decoders.paged(tmp_path / "model")), "cpu", 1, 2)
    engine = GenerationEngine(model, 2)
    for request_id in range(2):
        engine.start(request_id, GenerationTask(prompt=(5, 6, 7 + request_id), max_tokens=4, min_tokens=4))
    events = engine.step()
    engine._turns[0][0].close()
    with pytest.raises(MeasurementError, match="the request was not cancelled by the engine"):
        engine.cancel(0)
    engine.cancel(0)  # It has already ended.
    while events[-1].finish_reason is None:
        events = engine.step()
    assert events == [TokenEvent(1, events[0].token, FinishReason.LENGTH)]
