from __future__ import annotations

import numpy as np
import pytest

from app.inference.datasets.splitting import calibration_rows


def test_every_class_of_a_sorted_set_is_calibrated_with() -> None:
    labels = np.repeat(np.arange(10), 45)
    assert set(labels[calibration_rows(len(labels), 128)]) == set(range(10))


@pytest.mark.parametrize(("rows", "wanted", "count"), [(450, 128, 112), (10_000, 128, 128), (3, 128, 1), (1, 1, 1)])
def test_at_most_a_quarter_is_taken_and_at_least_one(rows: int, wanted: int, count: int) -> None:
    places = calibration_rows(rows, wanted)
    assert len(places) == count
    assert 0 <= places.min() <= places.max() < rows
