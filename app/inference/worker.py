"""Measuring child process: opens one variant, reports its cold start, then executes commands.

Usage: `python -m app.inference.worker JOB`, with the job as JSON. The process reads commands from
standard input and writes reports to standard output."""

from __future__ import annotations

from time import perf_counter_ns

_START_NS = perf_counter_ns()

import os  # noqa: E402 - the start is timed from the first line
import queue  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402

from app.errors import ExitCode, MeasurementError, SizewiseError, UsageError  # noqa: E402
from app.inference.job import (  # noqa: E402
    Command,
    ComputeOutputs,
    Measure,
    Report,
    Score,
    ScoreText,
    VariantFailed,
    VariantJob,
    read_command,
    write_message,
)
from app.inference.memory import MEMORY_HINT, is_out_of_memory_message, limit_memory  # noqa: E402
from app.inference.output_capture import reserve_stdout_for_reports  # noqa: E402
from loadgen.decoding import decode_json  # noqa: E402


def main() -> int:
    job = decode_json(sys.argv[1], VariantJob)
    commands = _read_commands()
    with reserve_stdout_for_reports() as reports:

        def send(report: Report) -> None:
            write_message(reports, report)

        try:
            limit_memory(job.memory_limit_bytes)
            _serve_commands(job, commands, send)
        except SizewiseError as error:
            failure = error
        # Reported as a message, because exiting with an exception crashes while runtime threads are
        # running.
        except Exception as error:
            failure = _convert_error(error, has_memory_limit=job.memory_limit_bytes is not None)
        message = str(failure).removesuffix(": MemoryError")  # Remove the exception type if there is no message.
        hint = failure.hint or (MEMORY_HINT if is_out_of_memory_message(message) else None)
        send(VariantFailed(message=message, hint=hint, exit_code=int(failure.exit_code)))
    return int(failure.exit_code)


def _convert_error(error: Exception, *, has_memory_limit: bool) -> SizewiseError:
    if isinstance(error, MemoryError):
        return MeasurementError("the model exceeds the memory limit", hint=MEMORY_HINT)
    # A library that exists but cannot be loaded ran out of memory, and reports it with a different
    # message.
    is_out_of_memory = (
        has_memory_limit and isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError)
    )
    return MeasurementError(
        f"the measuring process failed: {type(error).__name__}: {error}", hint=MEMORY_HINT if is_out_of_memory else None
    )


def _serve_commands(job: VariantJob, commands: queue.SimpleQueue[Command], send: Callable[[Report], None]) -> None:
    """Open the variant, then execute commands until this process exits with its parent process or
    an error is raised."""
    if job.is_language_model:
        _serve_generation(job, commands, send)
    start_ns = perf_counter_ns()
    import onnxruntime  # noqa: F401 - its import time is part of a cold start

    library_load_ms = (perf_counter_ns() - start_ns) / 1e6
    from app.inference.variant import OpenVariant

    variant = OpenVariant(job, _START_NS, library_load_ms)
    send(variant.build_opened_report())
    while True:
        match commands.get():
            case Measure() as command:
                send(variant.measure(command, send))
            case ComputeOutputs() as command:
                send(variant.compute_outputs(command))
            case Score():
                send(variant.score())
            case ScoreText():
                raise UsageError("only language models predict a text")


def _serve_generation(job: VariantJob, commands: queue.SimpleQueue[Command], send: Callable[[Report], None]) -> None:
    """Open a language model, then execute commands until this process exits with its parent process
    or an error is raised."""
    start_ns = perf_counter_ns()
    import onnxruntime_genai  # noqa: F401 - its import time is part of a cold start

    library_load_ms = (perf_counter_ns() - start_ns) / 1e6
    from app.inference.generation.variant import OpenGenerativeVariant

    variant = OpenGenerativeVariant(job, _START_NS, library_load_ms)
    send(variant.build_opened_report())
    while True:
        match commands.get():
            case Measure() as command:
                send(variant.measure(command, send))
            case ScoreText() as command:
                send(variant.score_text(command))
            case _:
                raise UsageError("a language model has no labeled rows and no outputs to compare")


def _read_commands() -> queue.SimpleQueue[Command]:
    """Return a queue of commands that a thread reads from standard input. When standard input ends,
    this process exits immediately."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def enqueue_commands() -> None:
        while (command := read_command(sys.stdin.buffer)) is not None:
            commands.put(command)
        os._exit(int(ExitCode.TERMINATED))

    threading.Thread(target=enqueue_commands, daemon=True, name="commands").start()
    return commands


if __name__ == "__main__":
    os._exit(main())  # A regular exit would wait for the reading thread, and abort.
