"""All checks of a self-test, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from msgspec.structs import replace

from app import __version__
from app.errors import InstrumentError
from app.records.selftest import Finding, SelfTest, selftest
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.selftest.bench import Bench
from app.session.selftest.clocks import check_clock
from app.session.selftest.injection import check_injection
from app.session.selftest.null_ceiling import check_ceiling
from app.session.selftest.parts import SelfTestParts
from app.session.selftest.percentiles import check_percentiles
from app.session.selftest.stall import check_stall
from app.session.selftest.stored import check_store
from app.session.spec import LimitSpec
from loadgen.process import LoadError

_LIMIT_S = 55.0
_LAST_SECOND_TRY_S = 40.0
"""What is begun again later than this might not end in a minute."""

Checking = Callable[[], Iterable[Finding]]


def prove(parts: SelfTestParts, interruption: Interruption, on_check: Callable[[str], None]) -> SelfTest | None:
    """None where it was interrupted. `on_check` hears what is looked at.

    Raises InstrumentError where a part does not even start.
    """
    with ExitStack() as running:
        try:
            return _Proof(parts, interruption, on_check, running).execute()
        except LoadError as error:
            if interruption.is_requested:
                return None
            raise InstrumentError(error.message, hint=error.hint) from error


class _Proof:
    def __init__(
        self,
        parts: SelfTestParts,
        interruption: Interruption,
        on_check: Callable[[str], None],
        running: ExitStack,
    ) -> None:
        self._parts, self._interruption, self._on_check, self._running = parts, interruption, on_check, running
        self._findings: list[Finding] = []

    def execute(self) -> SelfTest | None:
        parts = self._parts
        started, at = parts.read_clock(), parts.wall_now()
        self._start_ns = parts.now_ns()
        self._check("percentiles", lambda: check_percentiles(parts.distribution))
        load, store = parts.start_load(), parts.open_store()
        self._running.callback(load.close)
        self._running.callback(store.close)
        self._interruption.attach(load.stop)
        bench = Bench(
            parts, load, store, LimitWatch(LimitSpec(duration_s=_LIMIT_S), self._start_ns), self._interruption
        )
        self._check("null ceiling", lambda: check_ceiling(parts, load, self._interruption))
        self._check("stall", lambda: check_stall(bench), is_timed=True)
        self._check("injection", lambda: check_injection(bench), is_timed=True)
        store.seal()
        self._check("store", lambda: check_store(store.directory, bench.sent, parts.open_run))
        rows = parts.open_run(store.directory).requests()
        self._check("clock", lambda: check_clock(parts.now_ns, started, parts.read_clock(), rows))
        if self._interruption.is_requested:
            return None
        return selftest(
            tuple(self._findings),
            at=at.isoformat(timespec="seconds"),
            tool=__version__,
            fingerprint=parts.fingerprint,
            duration_s=self._elapsed_s(),
        )

    def _check(self, name: str, check: Checking, *, is_timed: bool = False) -> None:
        """What is timed is tried once more where it fails: a busy moment of the machine is no fault of the instrument,
        and a fault is there the second time too."""
        if self._interruption.is_requested:
            return
        self._on_check(name)
        found = tuple(check())
        may_again = is_timed and not self._interruption.is_requested and self._elapsed_s() < _LAST_SECOND_TRY_S
        if may_again and not all(one.passed for one in found):
            self._on_check(f"{name}, once more")
            found = tuple(replace(one, tries=2) for one in check())
        self._findings += found

    def _elapsed_s(self) -> float:
        return (self._parts.now_ns() - self._start_ns) / 1e9
