import pytest

from app.wiring.calibrating import list_worker_counts


@pytest.mark.parametrize(
    ("cores", "counts"),
    [
        (0.5, (1,)),
        (1.0, (1,)),
        (2.0, (1, 2)),
        (3.5, (1, 2, 3)),
        (4.0, (1, 2, 4)),
        (6.0, (1, 2, 4, 6)),
        (16.0, (1, 2, 4, 8, 16)),
    ],
)
def test_worker_counts_double_up_to_one_worker_per_core(cores: float, counts: tuple[int, ...]) -> None:
    assert list_worker_counts(cores) == counts


def test_worker_counts_of_this_machine_start_at_1() -> None:
    assert list_worker_counts()[0] == 1
