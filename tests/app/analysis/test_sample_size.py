from __future__ import annotations

import pytest

from app.analysis.sample_size import count_needed_samples


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_needed_samples_of_percentile_match_published_table(q: float, needed: int) -> None:
    assert count_needed_samples(q) == needed
    assert q**needed <= 0.025 < q ** (needed - 1)  # P(every value lies below the percentile)
