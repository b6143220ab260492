import statistics

import pytest

from loadgen.reference.script import FifoService, Script, ServiceModel, build_freeze

FREEZE = Script(delay_s=0.05, freeze_after_s=4, freeze_s=1)


@pytest.mark.parametrize(
    ("due_s", "out_s"), [(0.05, 0.05), (3.99, 3.99), (4, 5), (4.01, 5), (4.75, 5), (4.99, 5), (5, 5), (5.05, 5.05)]
)
def test_freeze_delays_due_pieces_until_its_end(due_s: float, out_s: float) -> None:
    assert build_freeze(FREEZE, 10**9)(round((due_s + 1) * 1e9)) == round((out_s + 1) * 1e9)


def test_requests_queue_for_first_free_server() -> None:
    service = FifoService(ServiceModel(delay_s=1, servers=2))
    assert [service.schedule(at_ns) for at_ns in (0, 0, 0, 400_000_000, 5 * 10**9)] == [
        (0, 10**9),
        (0, 10**9),
        (10**9, 10**9),
        (600_000_000, 10**9),
        (0, 10**9),
    ]


def test_service_time_includes_tokens_and_rows() -> None:
    service = FifoService(ServiceModel(delay_s=0.1, servers=1, tokens_per_s=100, row_s=0.01))
    assert service.schedule(0, token_count=11) == (0, 100_000_000)
    assert service.schedule(0, row_count=5) == (200_000_000, 150_000_000)
    assert service.gap_ns == 10_000_000


def test_random_delay_is_seeded_and_lognormal_around_median() -> None:
    def draw_delays(seed: int) -> list[int]:
        service = FifoService(ServiceModel(delay_s=0.1, sigma=0.5, seed=seed))
        return [service.schedule(0)[1] for _ in range(4_000)]

    assert draw_delays(1) == draw_delays(1) != draw_delays(2)
    assert statistics.median(draw_delays(1)) == pytest.approx(1e8, rel=0.05)
    assert statistics.quantiles(draw_delays(1), n=100)[94] == pytest.approx(1e8 * 2.276, rel=0.1)  # exp(1.645 × 0.5)
