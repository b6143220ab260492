"""A load worker behind bare pipes: the test sends the commands of the engine."""

from __future__ import annotations

import subprocess
from typing import TypeVar

import pandas as pd
import pyarrow as pa

from loadgen.child import start_module
from loadgen.frames import encode_message_frame, read_report
from loadgen.records import REQUEST_SCHEMA, Command, Ready, Report, StageEnded

T = TypeVar("T", bound=Report)


class PipedWorker:
    def __init__(self) -> None:
        self.child = start_module("loadgen.worker", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.batches: list[pa.RecordBatch] = []

    def __enter__(self) -> PipedWorker:
        self.child.__enter__()
        self.receive(Ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.__exit__(None, None, None)

    def send_commands(self, *commands: Command) -> None:
        assert self.child.stdin is not None
        for command in commands:
            self.child.stdin.write(encode_message_frame(command))
        self.child.stdin.flush()

    def receive(self, report_type: type[T]) -> T:
        """Return the next report of the kind. Rows before it are stored; other reports are dropped."""
        assert self.child.stdout is not None
        while (report := read_report(self.child.stdout)) is not None:
            if isinstance(report, pa.RecordBatch):
                self.batches.append(report)
            elif isinstance(report, report_type):
                return report
            else:
                assert not isinstance(report, StageEnded), f"{report_type.__name__} never came"
        raise AssertionError(f"the worker left without {report_type.__name__}")

    @property
    def rows(self) -> pd.DataFrame:
        frame: pd.DataFrame = pa.Table.from_batches(self.batches, REQUEST_SCHEMA).to_pandas()
        return frame
