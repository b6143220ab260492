"""The measuring child: opens one variant, says how cold its start was, then measures what it is asked to.

`python -m app.inference.worker JOB`, the job as JSON; commands come on standard input, reports go to standard output.
"""

from __future__ import annotations

from time import perf_counter_ns

_BEGUN_NS = perf_counter_ns()

import os  # noqa: E402 - the start is timed from the first line
import queue  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402

from app.errors import ExitCode, InstrumentError, SizewiseError  # noqa: E402
from app.inference.job import (  # noqa: E402
    Command,
    GiveOutputs,
    Measure,
    Report,
    Score,
    VariantFailed,
    VariantJob,
    read_command,
    write_message,
)
from app.inference.memory import MORE_MEMORY, limit_memory, tells_of_want  # noqa: E402
from app.inference.output_capture import stdout_for_reports  # noqa: E402
from loadgen.decoding import decode_json  # noqa: E402


def main() -> int:
    job = decode_json(sys.argv[1], VariantJob)
    commands = _commands()
    with stdout_for_reports() as reports:

        def tell(report: Report) -> None:
            write_message(reports, report)

        try:
            limit_memory(job.memory_limit_bytes)
            _answer(job, commands, tell)
        except SizewiseError as error:
            failure = error
        except Exception as error:  # told in words, or the end of a process with threads of a runtime would be a crash
            failure = _in_words(error, is_limited=job.memory_limit_bytes is not None)
        message = str(failure).removesuffix(": MemoryError")  # the type of an error that said nothing more
        hint = failure.hint or (MORE_MEMORY if tells_of_want(message) else None)
        tell(VariantFailed(message=message, hint=hint, exit_code=int(failure.exit_code)))
    return int(failure.exit_code)


def _in_words(error: Exception, *, is_limited: bool) -> SizewiseError:
    if isinstance(error, MemoryError):
        return InstrumentError("it takes more memory than it may", hint=MORE_MEMORY)
    # a library that is there and does not load found no room, in words of its own
    has_no_room = is_limited and isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError)
    return InstrumentError(
        f"the measuring process failed: {type(error).__name__}: {error}", hint=MORE_MEMORY if has_no_room else None
    )


def _answer(job: VariantJob, commands: queue.SimpleQueue[Command], tell: Callable[[Report], None]) -> None:
    """Until this process leaves with its parent, or something fails."""
    start_ns = perf_counter_ns()
    import onnxruntime  # noqa: F401 - how long that takes is a part of a cold start

    library_load_ms = (perf_counter_ns() - start_ns) / 1e6
    from app.inference.variant import OpenVariant

    variant = OpenVariant(job, _BEGUN_NS, library_load_ms)
    tell(variant.opened())
    while True:
        match commands.get():
            case Measure() as plan:
                tell(variant.measure(plan, tell))
            case GiveOutputs() as wanted:
                tell(variant.outputs(wanted))
            case Score():
                tell(variant.score())


def _commands() -> queue.SimpleQueue[Command]:
    """Filled by a thread that waits on standard input, whose end ends this process, whatever it is doing."""
    heard: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def listen() -> None:
        while (command := read_command(sys.stdin.buffer)) is not None:
            heard.put(command)
        os._exit(int(ExitCode.TERMINATED))

    threading.Thread(target=listen, daemon=True, name="commands").start()
    return heard


if __name__ == "__main__":
    os._exit(main())  # leaving in order would wait for the thread that reads, and abort
