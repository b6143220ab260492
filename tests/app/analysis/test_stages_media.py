"""Audio and image metrics of a stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.rows import join_rows, read_rows
from app.analysis.spans import find_requests_within_limits
from app.analysis.stages import summarize_stage
from tests.fakes.queues import build_stage_data, constant_s, request_rows


def build_media_rows(**columns: Any) -> pd.DataFrame:
    """100 requests in 10 s that take 400 ms each, every fourth of which fails."""
    errors = [None, None, None, "http-5xx"] * 25
    frame = request_rows(constant_s(10, 10), np.full(100, 0.4), errors=errors)
    unknown: dict[str, Any] = dict.fromkeys(("input_end_ns", "first_audio_ns", "audio_s", "images"))
    return frame.assign(**(unknown | columns))


def test_speech_has_time_to_first_audio_and_real_time_factor() -> None:
    frame = build_media_rows(audio_s=np.tile([1.0, 2.0, 4.0, np.nan], 25))
    frame["first_audio_ns"] = frame["scheduled_ns"] + 100_000_000
    stage = summarize_stage(frame, None, build_stage_data(10, 10, arrivals="constant"), ())
    metrics = stage.metrics
    assert metrics["ttfa_ms"]["p50"].value == pytest.approx(100)
    assert (metrics["ttfa_ms"]["p50"].n, metrics["audio_s"]["mean"].n) == (75, 75)
    assert metrics["real_time_factor"]["mean"].value == pytest.approx((0.4 + 0.2 + 0.1) / 3)
    assert metrics["real_time_factor"]["max"].value == pytest.approx(0.4)
    assert metrics["audio_s"]["mean"].value == pytest.approx(7 / 3)
    # the last 4 responses end after the stage
    assert metrics["audio_s_per_s"]["value"].value == pytest.approx((25 * 7 - (1 + 2 + 4)) / 10, rel=0.02)
    assert "images_per_s" not in metrics


def test_transcription_has_no_first_audio_and_image_has_no_audio_metrics() -> None:
    stage_data = build_stage_data(10, 10, arrivals="constant")
    transcripts = summarize_stage(build_media_rows(audio_s=8.0), None, stage_data, ()).metrics
    assert transcripts["real_time_factor"]["mean"].value == pytest.approx(0.05)
    assert not transcripts.keys() & {"ttfa_ms", "images_per_s", "response_ms"}
    images = summarize_stage(build_media_rows(images=np.tile([2, 2, 2, 0], 25)), None, stage_data, ()).metrics
    assert images["images_per_s"]["value"].value == pytest.approx(2 * 72 / 10, rel=0.02)
    assert images["images_per_s"]["value"].n == pytest.approx(72, abs=1)
    assert not images.keys() & {"audio_s", "audio_s_per_s", "real_time_factor", "ttfa_ms"}
    plain = summarize_stage(build_media_rows(), None, stage_data, ()).metrics
    assert not plain.keys() & {"audio_s", "images_per_s", "ttfa_ms"}


def test_dialog_response_time_starts_at_end_of_input() -> None:
    frame = build_media_rows(audio_s=2.0)
    frame["input_end_ns"], frame["first_audio_ns"] = frame["sent_ns"] + 300_000_000, frame["sent_ns"] + 325_000_000
    slo = (parse_objective("response_ms.p95 < 150"),)
    stage = summarize_stage(frame, None, build_stage_data(10, 10, arrivals="constant"), slo)
    metrics = stage.metrics
    assert metrics["ttfa_ms"]["p50"].value == pytest.approx(25)
    assert metrics["response_ms"]["p50"].value == pytest.approx(100)
    assert metrics["real_time_factor"]["mean"].value == pytest.approx(0.05)
    assert metrics["latency_ms"]["p50"].value == pytest.approx(400)
    assert metrics["goodput_share"]["value"].value == pytest.approx(0.75), "a quarter failed"
    shifted = read_rows(frame).shift(7).media
    assert shifted is not None
    assert (shifted.input_end_ns - np.sort(frame["input_end_ns"]) == 7).all()


def test_response_without_audio_violates_first_audio_limit() -> None:
    frame = build_media_rows()
    first_audio_ns = (frame["scheduled_ns"] + 90_000_000).astype("Int64")
    frame["first_audio_ns"] = first_audio_ns.mask(np.arange(100) % 2 == 0)
    slo = (parse_objective("ttfa_ms.p95 < 100"),)
    is_good = find_requests_within_limits(read_rows(frame), slo)
    assert is_good.sum() == 25, "successful responses with audio"
    assert not find_requests_within_limits(read_rows(build_media_rows()), slo).any()


def test_rows_with_and_without_audio_are_joined_sorted_and_shifted() -> None:
    spoken = build_media_rows(audio_s=1.5).iloc[::-1]
    spoken["first_audio_ns"] = spoken["scheduled_ns"] + 1
    joined = join_rows([read_rows(build_media_rows()).shift(5), read_rows(spoken)])
    assert joined.media is not None
    assert np.isnan(joined.media.audio_durations_s).sum() == 100
    assert (joined.media.first_audio_ns > 0).sum() == 100
    shifted = read_rows(spoken).shift(7).media
    assert shifted is not None
    assert (shifted.first_audio_ns - np.sort(spoken["first_audio_ns"]) == 7).all()
    assert join_rows([read_rows(build_media_rows())] * 2).media is None
