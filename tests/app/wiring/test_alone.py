from __future__ import annotations

from pathlib import Path

from app.wiring.alone import alone_of
from tests.app.wiring.conftest import Written

SERVED = {"protocol": "oip", "serve": {"model": "digits", "threads": 2, "max_batch": 12}}


def test_a_served_model_is_measured_in_powers_of_two_up_to_the_largest_batch(written: Written) -> None:
    spec = alone_of(written(SERVED))
    assert spec is not None
    assert spec.batches == (1, 2, 4, 8, 12)
    assert (spec.name, spec.job.batch, spec.job.settings.threads) == ("digits", 1, 2)
    assert Path(spec.job.model).is_absolute()
    assert spec.job.rows is None


def test_labelled_rows_are_scored(written: Written, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"rows")
    spec = alone_of(written(SERVED, {"tensors": "rows.npz", "labels": "y"}))
    assert spec is not None
    assert (spec.job.rows, spec.job.label) == (str(tmp_path / "rows.npz"), "y")


def test_an_endpoint_of_others_has_no_model_to_measure(written: Written) -> None:
    assert alone_of(written()) is None
