"""What a machine that lends its load workers to a run elsewhere has to know."""

from __future__ import annotations

from app.errors import UsageError
from app.profiles.problems import BadValueError
from app.profiles.units import parse_duration_s
from app.records.calibration import Ceiling
from app.storage.calibrations import stored_calibration
from app.wiring.machine import inspect_machine
from app.wiring.meeting import TOKEN, read_address, read_token, resolved
from app.wiring.parts import wall_now
from loadgen.records import Join

_LONGEST_WAIT_S = 86_400.0


def join_of(master: str, token: str | None, wait: str) -> Join:
    """From what the command line says. Raises UsageError, and UnavailableError for a host that nobody knows."""
    address = read_address("--master", master)
    wait_s = _seconds(wait)
    secret = read_token(token or TOKEN)
    resolved("--master", address)
    return Join(address.host, address.port, secret, wait_s)


def ceilings_here(workers: int) -> tuple[float | None, float | None]:
    """Each one's part of what so many workers were found to send here: requests and chunks a second; None where that
    is not known. Takes about a second."""
    environment, _ = inspect_machine()
    known = stored_calibration(environment.fingerprint, wall_now())
    if known is None:
        return None, None
    return _part(known.ceiling("plain", workers), workers), _part(known.ceiling("streaming", workers), workers)


def _part(ceiling: Ceiling | None, workers: int) -> float | None:
    return None if ceiling is None or ceiling.per_s is None else ceiling.per_s / workers


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration_s(text)
    except BadValueError as error:
        raise UsageError(f"--wait: {error}", hint=error.hint) from None
    if not 0 < seconds <= _LONGEST_WAIT_S:
        raise UsageError("--wait is above 0s and at most 1d")
    return seconds
