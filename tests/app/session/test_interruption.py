import pytest

from app.errors import ExitCode
from app.session.interruption import Interruption


def test_first_stop_request_drains_and_the_second_cancels() -> None:
    stops: list[bool] = []
    interruption = Interruption()
    interruption.set_stop_callback(stops.append)
    assert not interruption.is_requested
    interruption.request_stop(ExitCode.INTERRUPTED)
    interruption.request_stop(ExitCode.INTERRUPTED)
    assert stops == [True, False]
    assert interruption.is_requested


def test_first_stop_request_determines_the_exit_code() -> None:
    interruption = Interruption()
    interruption.request_stop(ExitCode.TERMINATED)
    interruption.request_stop(ExitCode.INTERRUPTED)
    assert interruption.code == ExitCode.TERMINATED


def test_third_stop_request_exits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_codes: list[int] = []
    monkeypatch.setattr("os._exit", exit_codes.append)
    interruption = Interruption()
    for _ in range(3):
        interruption.request_stop(ExitCode.INTERRUPTED)
    assert exit_codes == [130]
