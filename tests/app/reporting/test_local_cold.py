from __future__ import annotations

from app.records.local import ColdStartOf
from app.reporting.local_cold import COLD_PARTS, cold_rows


def _start(extra: float, *, is_cached: bool = False) -> ColdStartOf:
    return ColdStartOf(
        is_cached=is_cached,
        process_ms=20 + extra,
        library_load_ms=100,
        session_build_ms=10 + 2 * extra,
        first_inference_ms=5,
    )


def test_starts_with_and_without_what_was_kept_stand_side_by_side() -> None:
    anew, cached = cold_rows([_start(0), _start(1), _start(8), _start(0, is_cached=True)])
    assert [one.value for one in anew.p50] == [21, 100, 12, 5, 138]
    assert [one.value for one in anew.worst] == [28, 100, 26, 5, 159]
    assert (anew.is_cached, anew.starts, cached.is_cached, cached.starts) == (False, 3, True, 1)
    assert len(anew.p50) == len(COLD_PARTS)


def test_no_start_is_no_row() -> None:
    assert cold_rows([]) == ()
