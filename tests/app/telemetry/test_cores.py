from __future__ import annotations

import os
from typing import NamedTuple

import psutil
import pytest

from app.telemetry.cores import CoreReader


class CpuTimes(NamedTuple):
    user: float
    idle: float
    iowait: float
    guest: float


def tell(monkeypatch: pytest.MonkeyPatch, *told: list[CpuTimes], usable: tuple[int, ...] = (0, 1)) -> None:
    following = iter(told)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(following))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(usable), raising=False)


START = [CpuTimes(10, 90, 5, 1)] * 3


def test_each_core_counts_from_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [CpuTimes(11, 92, 6, 2), CpuTimes(10, 90, 5, 1), CpuTimes(99, 90, 5, 1)]
    latest = [CpuTimes(11, 93, 6, 2), CpuTimes(11, 90, 5, 1), CpuTimes(99, 90, 5, 1)]
    tell(monkeypatch, START, later, latest)
    reader = CoreReader()
    assert reader.read() == {0: 25, 1: None}  # 1 of 4 core-seconds; and within one tick
    assert reader.read() == {0: 0, 1: 100}


def test_cores_that_this_process_may_not_run_on_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [CpuTimes(20, 100, 5, 1)] * 3
    tell(monkeypatch, START, later, usable=(2,))
    assert CoreReader().read() == {2: 50}


def test_all_are_told_where_their_numbers_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, START, START, usable=(64, 65))
    assert set(CoreReader().read()) == {0, 1, 2}


def test_a_core_that_was_switched_on_counts_from_then(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, START[:1], START[:2], [CpuTimes(20, 100, 5, 1)] * 2)
    reader = CoreReader()
    assert reader.read() == {0: None, 1: None}
    assert reader.read() == {0: 50, 1: 50}
