from __future__ import annotations

import pytest

from app.errors import ExitCode
from app.records.calibration import CalibrationStep
from app.session.calibration import find_ceiling
from app.session.interruption import Interruption
from loadgen.records import LoadWorker
from tests.fakes.generator import FakeMachine, LimitedLoad, nobody_knows, null_servers

TWO = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(2))


def test_the_ceiling_is_what_the_generator_kept_up_with() -> None:
    servers, start = null_servers()
    told: list[CalibrationStep] = []
    load = LimitedLoad(25_000.0)
    found = find_ceiling("plain", load, start, Interruption(), nobody_knows, told.append)
    assert (found.kind, found.workers, found.is_at_least) == ("plain", 1, False)
    assert found.per_s == pytest.approx(22_627, rel=0.02)
    assert list(found.rungs) == told
    assert [server.is_closed for server in servers] == [True]


def test_of_streams_it_is_in_chunks() -> None:
    _, start = null_servers()
    found = find_ceiling("streaming", LimitedLoad(1e6, 50_000.0), start, Interruption(), nobody_knows)
    assert found.per_s == pytest.approx(45_255, rel=0.1)  # of 1,000 streams, by chance some more or less
    assert any(rung.late_share > 0.01 for rung in found.rungs)


def test_several_workers_are_calibrated_together_each_two_on_a_server_of_their_own() -> None:
    for count, expected in ((1, 1), (2, 1), (3, 2), (8, 4)):
        servers, start = null_servers()
        workers = tuple(LoadWorker(index, "here", index, is_local=True) for index in range(count))
        load = LimitedLoad(8_000.0 * count, workers=workers if count > 1 else ())
        found = find_ceiling("plain", load, start, Interruption(), nobody_knows)
        assert (found.workers, len(servers), len(load.endpoints[-1].urls)) == (count, expected, expected)
        assert all(server.is_closed for server in servers)


def test_a_null_server_at_its_own_limit_says_nothing_against_the_generator() -> None:
    _, start = null_servers(cores=2.0)
    assert find_ceiling("plain", LimitedLoad(25_000.0), start, Interruption(), nobody_knows).is_at_least
    _, start = null_servers(cores=None)
    assert not find_ceiling("plain", LimitedLoad(25_000.0), start, Interruption(), nobody_knows).is_at_least


def test_a_generator_that_keeps_up_with_everything_has_no_known_end() -> None:
    _, start = null_servers()
    found = find_ceiling("plain", LimitedLoad(1e6), start, Interruption(), nobody_knows)
    assert found.is_at_least
    assert found.per_s == pytest.approx(64_000, rel=0.02)


def test_the_first_stage_does_not_count_and_a_disturbed_one_is_tried_again() -> None:
    _, start = null_servers()
    found = find_ceiling("plain", LimitedLoad(25_000.0, disturbed=(0, 1, 3)), start, Interruption(), nobody_knows)
    assert found.per_s == pytest.approx(22_627, rel=0.02)


def test_it_ends_when_the_run_is_stopped() -> None:
    servers, start = null_servers()
    interruption = Interruption()
    load = LimitedLoad(25_000.0, on_stage=lambda: interruption.request(ExitCode.INTERRUPTED))
    assert find_ceiling("plain", load, start, interruption, nobody_knows).per_s is None
    assert len(load.plans) == 1
    assert servers[0].is_closed


def test_a_busy_machine_gives_a_lower_bound_and_says_by_what() -> None:
    _, start = null_servers()
    found = find_ceiling("plain", LimitedLoad(25_000.0), start, Interruption(), FakeMachine(1.5))
    assert found.per_s == pytest.approx(22_627, rel=0.02)
    assert found.is_at_least is True
    assert found.disturbed_by_cores == pytest.approx(1.5)


def test_other_work_before_and_between_does_not_matter() -> None:
    _, start = null_servers()
    machine = FakeMachine(1.5, stages=(0, 1, 2))
    found = find_ceiling("plain", LimitedLoad(25_000.0), start, Interruption(), machine)
    assert (found.is_at_least, found.disturbed_by_cores) == (False, None)
