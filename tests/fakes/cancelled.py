"""A real session that is cancelled at a chosen moment, and what it leaves in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.cli.signals import handle_stop_signals
from app.errors import SizewiseError
from app.records.events import Event, PhaseChanged, Snapshot, StageStarted
from app.session.run import run
from app.storage.run_directory import RunWriter
from app.wiring.dependencies import build_dependencies
from app.wiring.spec import build_spec
from loadgen.records import Gather
from tests.fakes.processes import is_running
from tests.fakes.profiles import load_endpoint_profile
from tests.fakes.program import wait_until
from tests.fakes.session_dependencies import CALIBRATION, ENVIRONMENT, NOON
from tests.fakes.sockets import family_of

PROFILE = """sizewise: 1
name: cancelled
target:
  protocol: http
  scripted: {delay: 200ms}
  timeouts: {connect: 1s, idle: 2s, total: 2s}
workload: {method: POST, body: {a: 1}}
load:
  warmup: 0s
  stages: [{name: steady, arrivals: poisson, rate: 100/s, duration: 60s}]
slo: ["latency_ms.p95 < 500"]
"""


class Moment(NamedTuple):
    """The session receives a signal `after_s` after the first event that `begins` accepts, and a second one `after_s`
    later if `signals` is 2.

    The only stage lasts `duration_s` if it is not stopped."""

    name: str
    begins: Callable[[Event], bool]
    after_s: float = 0.0
    signals: int = 1
    is_calibrated: bool = True
    duration_s: float = 60.0


def _phase(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, PhaseChanged) and event.phase == name


def _is(kind: type[Event]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind)


MOMENTS = (
    Moment("before anything was started", _phase("doctor")),
    Moment("as the target starts", _phase("endpoint"), 0.1),
    Moment("as the workers start", _phase("endpoint"), 0.7),
    Moment("as the workers are all but there", _phase("endpoint"), 1.2),
    Moment("as the worker is configured", _phase("preflight")),
    Moment("as one request is sent", _phase("preflight"), 0.1),
    Moment("as it is calibrated", _phase("calibrate"), 0.3, is_calibrated=False),
    Moment("as the stage is prepared", _phase("stages")),
    Moment("as the stage begins", _is(StageStarted)),
    Moment("amid the stage", _is(Snapshot), 0.2),
    Moment("amid the stage, and as it drains", _is(Snapshot), 0.1, signals=2),
    Moment("as the run is evaluated", _phase("report"), duration_s=0.5),
)


class Footprint(NamedTuple):
    """File descriptors (their targets), threads and resident memory of this process."""

    descriptors: tuple[str, ...]
    threads: tuple[str, ...]
    resident_mib: float

    @classmethod
    def now(cls) -> Footprint:
        links = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one that this folder was read with
                links.append(str(descriptor.readlink()))
        threads = sorted(thread.name for thread in threading.enumerate())
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        return cls(tuple(sorted(links)), tuple(threads), resident)

    def left_since(self, before: Footprint) -> list[str]:
        """Descriptors and threads that did not exist before."""
        left = list(self.descriptors + self.threads)
        for earlier in before.descriptors + before.threads:
            if earlier in left:
                left.remove(earlier)
        return left


class Cancelled(NamedTuple):
    """`shutdown_s` is the time from the first signal to the end of the session; `None` if no signal was sent."""

    code: int
    shutdown_s: float | None
    started: int
    """Processes."""


def cancelled_run(directory: Path, moment: Moment, workers: int) -> Cancelled:
    """Run and cancel a session. Fails the test if a process that the session started survives it."""
    path = directory / "profile.yaml"
    directory.mkdir()
    path.write_text(PROFILE)
    profile = load_endpoint_profile(path, [f"load.stages.0.duration={moment.duration_s:g}s"])
    spec, killer = build_spec(profile, "r", today=NOON.date(), recalibrate=False), _Killer(moment)
    with RunWriter(directory / "run") as store, handle_stop_signals() as interruption:
        parts = msgspec.structs.replace(
            build_dependencies(profile, store, Gather(local_workers=workers) if workers > 1 else None),
            inspect_machine=lambda: (ENVIRONMENT, ()),  # the real inspection runs a child for a second
            load_calibration=lambda _fingerprint, _now: CALIBRATION if moment.is_calibrated else None,
            store_calibration=lambda _: None,
        )
        try:
            code = run(spec, parts, killer, interruption).result.exit.code
        except SizewiseError as error:
            code = int(error.exit_code)
        ended_s = time.monotonic()
        killer.wait()
    wait_until(lambda: not any(is_running(pid) for pid in killer.family), within_s=1.0)
    lasted_s = None if killer.signalled_s is None else ended_s - killer.signalled_s
    return Cancelled(code, lasted_s, len(killer.family))


class _Killer:
    """Observes the events of the session and signals this process, as a terminal would."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._timer: threading.Thread | None = None
        self.signalled_s: float | None = None
        self._before = family_of(os.getpid())
        self.family: set[int] = set()
        """All processes seen that this one has started since, and they."""

    def __call__(self, event: Event) -> None:
        self._observe()
        if self._timer is None and self._moment.begins(event):
            self._timer = threading.Thread(target=self._signal)
            self._timer.start()
            if not self._moment.after_s:
                self.wait()

    def wait(self) -> None:
        if self._timer is not None:
            self._timer.join()

    def _signal(self) -> None:
        pause = threading.Event()
        for _ in range(self._moment.signals):
            pause.wait(self._moment.after_s)
            self._observe()
            self.signalled_s = self.signalled_s or time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)

    def _observe(self) -> None:
        self.family |= family_of(os.getpid()) - self._before - {os.getpid()}
