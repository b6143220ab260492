from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import tiers
from tests.tiers import Disturbance, MachineLoad, disturbance, read_load

ORDERED = """
import pytest

@pytest.mark.timing
def test_rate(): pass

@pytest.mark.soak
@pytest.mark.process
def test_leaks(): pass

@pytest.mark.ui
def test_window(): pass

@pytest.mark.process
def test_command(): pass

def test_formula(): pass
"""
FAILS_ONCE = """
import pytest
attempts = []

@pytest.fixture(scope="module")
def measured():
    attempts.append("measured")

@pytest.mark.timing
def test_lag(measured):
    assert len(attempts) > 1
"""
FAILS = """
import pytest

@pytest.mark.timing
def test_lag():
    assert 2 < 1
"""
PASSES = """
import pytest

@pytest.mark.timing
@pytest.mark.parametrize("place", range(5))
def test_rate(place): pass
"""
FIXTURES = """
import time
import pytest

@pytest.fixture
def without_setup(): assert False

@pytest.fixture
def without_teardown():
    yield
    assert False

@pytest.fixture
def slow():
    start_s = time.monotonic()
    while time.monotonic() < start_s + 0.01: pass

def test_not_set_up(without_setup): pass

def test_not_torn_down(without_teardown): pass

def test_slow(slow): pass
"""
STARTS = """
import multiprocessing, os, subprocess, sys, pytest

def nothing(): pass

def test_subprocess(): subprocess.run([sys.executable, "-c", ""])

def test_fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

def test_multiprocessing():
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    child.join()

@pytest.mark.process
def test_marked(): subprocess.run([sys.executable, "-c", ""])
"""
COMPUTES = """
import time, pytest

def compute():
    end_s = time.process_time() + 0.12
    while time.process_time() < end_s:
        pass

@pytest.fixture
def plan(): compute()

def test_formula(): pass
def test_fit(): compute()
def test_plan(plan): pass

@pytest.mark.process
def test_command(): compute()
"""
REPEATS = """
import pytest
from tests.tiers import first_in_unit_tier

@pytest.mark.parametrize("seed", first_in_unit_tier(range(5), 2))
def test_coverage(seed): pass
"""
QUIET = MachineLoad(clock_s=0, pressure_s=0, busy_s=0, stolen_s=0, own_s=0)
CROWDED = MachineLoad(clock_s=10, pressure_s=9, busy_s=20, stolen_s=0, own_s=8)


ONE_WORKER = ("-p", "xdist", "--numprocesses", "1")


def run_pytest(pytester: pytest.Pytester, *sources: str, options: Sequence[str] = ()) -> pytest.RunResult:
    for index, source in enumerate(sources):
        pytester.makepyfile(**{f"test_{index}": source})
    plugins = ("--disable-plugin-autoload", "-p", "tests.tiers", "-p", "no:cacheprovider")
    return pytester.runpytest_inprocess("-v", "--no-header", "--tb=native", *plugins, *options)


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = [QUIET, CROWDED]

    def load() -> MachineLoad:
        loads.reverse()
        return loads[1]

    monkeypatch.setattr(tiers, "read_load", load)


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "read_load", lambda: QUIET)


def test_tiers_run_in_their_declared_order(pytester: pytest.Pytester) -> None:
    lines = [line for line in run_pytest(pytester, ORDERED).outlines if "PASSED" in line]
    assert [line.split("::")[1].split()[0] for line in lines] == [
        "test_formula",
        "test_command",
        "test_window",
        "test_rate",
        "test_leaks",
    ]


def test_files_without_timing_tests_are_not_imported_in_timing_tier(pytester: pytest.Pytester) -> None:
    imported = "raise ImportError('imported')"
    run_pytest(pytester, ORDERED, imported, options=("-m", "timing")).assert_outcomes(passed=1, deselected=4)
    run_pytest(pytester, ORDERED, imported, options=("-m", "timing or ui")).assert_outcomes(errors=1)


def test_files_of_other_tiers_are_not_imported_in_unit_tier(
    pytester: pytest.Pytester,
) -> None:
    of_processes = "import pytest\npytestmark = pytest.mark.process\nraise ImportError('imported')"
    run_pytest(pytester, ORDERED, of_processes, options=("-m", "unit")).assert_outcomes(passed=1, deselected=4)
    run_pytest(pytester, ORDERED, of_processes, options=("-m", "not soak")).assert_outcomes(errors=1)


def test_unit_test_with_much_processor_time_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # not longer, since this is a unit test, too
        patch.setattr(tiers, "MAX_UNIT_CPU_S", 0.1)
        patch.setattr(tiers, "_has_compiled_kernels", lambda: False)
        result = run_pytest(pytester, COMPUTES)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert "s of processor time: make it cheaper or `soak`" in result.stdout.str()


def test_kernel_compilation_does_not_fail_unit_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "MAX_UNIT_CPU_S", 0.1)
    monkeypatch.setattr(tiers, "_has_compiled_kernels", lambda: True)
    run_pytest(pytester, COMPUTES).assert_outcomes(passed=4)


def test_first_repetitions_are_unit_tests_and_others_soak_tests(
    pytester: pytest.Pytester,
) -> None:
    run_pytest(pytester, REPEATS, options=("-m", "unit")).assert_outcomes(passed=2, deselected=3)
    run_pytest(pytester, REPEATS, options=("-m", "soak")).assert_outcomes(passed=3, deselected=2)


@pytest.mark.process
def test_unit_test_that_starts_process_fails(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, STARTS)
    result.assert_outcomes(passed=1, failed=3)
    assert "a unit test starts a process: mark it `process`" in result.stdout.str()


@pytest.mark.usefixtures("disturbed")
def test_disturbed_timing_test_is_repeated_once(pytester: pytest.Pytester) -> None:
    run_pytest(pytester, FAILS_ONCE).assert_outcomes(passed=1)


@pytest.mark.usefixtures("undisturbed")
def test_undisturbed_timing_test_is_not_repeated(pytester: pytest.Pytester) -> None:
    run_pytest(pytester, FAILS_ONCE).assert_outcomes(failed=1)


@pytest.mark.usefixtures("disturbed")
def test_repeatedly_disturbed_timing_test_is_skipped_with_figures(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, FAILS, PASSES)
    result.assert_outcomes(passed=5, skipped=1)
    assert "6 run, 1 of them skipped for other work on the machine" in result.stdout.str()
    assert "processes waited for a core 90% of the time, other work took 1.20 cores" in result.stdout.str()
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("disturbed")
def test_session_with_too_many_skipped_timing_tests_fails(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, FAILS)
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "FAILED: more than 20% were skipped" in result.stdout.str()


@pytest.mark.process
def test_xdist_workers_report_skipped_tests_to_counting_process(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest(
        """
        import itertools
        from tests import tiers
        idle = tiers.MachineLoad(clock_s=0, pressure_s=0, busy_s=0, stolen_s=0, own_s=0)
        crowded = tiers.MachineLoad(clock_s=10, pressure_s=9, busy_s=20, stolen_s=0, own_s=8)
        loads = itertools.cycle([idle, crowded])
        tiers.read_load = lambda: next(loads)
        """
    )
    result = run_pytest(pytester, FAILS, PASSES, options=("-m", "timing", *ONE_WORKER))
    result.assert_outcomes(passed=5, skipped=1)
    assert "6 run, 1 of them skipped for other work on the machine" in result.stdout.str()


@pytest.mark.process
def test_xdist_workers_report_failed_and_slow_fixtures(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    result = run_pytest(pytester, FIXTURES, options=(*ONE_WORKER, "--durations", "0"))
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.re_match_lines([r".*s setup +test_0.py::test_slow"])


@pytest.mark.parametrize(
    ("other", "is_beyond"),
    [
        (Disturbance(pressure_share=0.9, other_cores=1.2, stolen_share=0), True),
        (Disturbance(pressure_share=0.9, other_cores=0.1, stolen_share=0), False),  # the test's own processes
        (Disturbance(pressure_share=0.3, other_cores=1.2, stolen_share=0), False),  # a core was free
        (Disturbance(pressure_share=0.1, other_cores=0, stolen_share=0.1), True),
    ],
)
def test_disturbance_limits_combine_pressure_other_cores_and_stolen_time(other: Disturbance, is_beyond: bool) -> None:
    assert other.is_beyond_limits is is_beyond


def test_disturbance_excludes_own_processor_time() -> None:
    assert disturbance(QUIET, CROWDED, cores=2) == pytest.approx((0.9, 1.2, 0.0))


def test_machine_load_is_read_from_proc_files(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(
        "some avg10=99.95 avg60=99.75 avg300=98.27 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    (tmp_path / "stat").write_text("cpu  100 200 300 400 500 600 700 800 0 0\n")
    load = read_load(tmp_path)
    assert load is not None
    assert (load.pressure_s, load.busy_s, load.stolen_s) == pytest.approx((2.5, 19.0, 8.0))
    assert load.own_s > 0


def test_machine_load_is_unknown_without_kernel_figures(tmp_path: Path) -> None:
    assert read_load(tmp_path) is None
