import pytest

from app.errors import ExitCode
from app.session.interruption import Interruption


def test_the_first_command_drains_and_the_second_cuts() -> None:
    stops: list[bool] = []
    interruption = Interruption()
    interruption.set_stop_callback(stops.append)
    assert not interruption.is_requested
    interruption.request_stop(ExitCode.INTERRUPTED)
    interruption.request_stop(ExitCode.INTERRUPTED)
    assert stops == [True, False]
    assert interruption.is_requested


def test_the_first_signal_names_the_exit_code() -> None:
    interruption = Interruption()
    interruption.request_stop(ExitCode.TERMINATED)
    interruption.request_stop(ExitCode.INTERRUPTED)
    assert interruption.code == ExitCode.TERMINATED


def test_the_third_command_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    interruption = Interruption()
    for _ in range(3):
        interruption.request_stop(ExitCode.INTERRUPTED)
    assert left == [130]
