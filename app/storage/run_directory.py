"""Run directories: the data of one run, written while the run is in progress, and readable even if
the run was interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import DamagedFileError, UsageError
from app.records.calibration import Calibration
from app.records.calls import CALL_SCHEMA
from app.records.control import ControlCommand, ControlResponse
from app.records.events import CallsFinished, Event, RunFinished, RunStarted, StageFinished, VariantFinished
from app.records.result import Artifact, Environment, Result
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.control import CommandInbox, is_engine_alive, remove_control_files
from app.storage.integrity import Damage, build_damaged_error, find_damage, find_result_damage, find_unverified_files
from app.storage.journal import Journal
from app.storage.names import CALIBRATION as CALIBRATION
from app.storage.names import CALLS as CALLS
from app.storage.names import CHECKSUMS, IMPORTED, LAST, PRIVATE_MODE
from app.storage.names import ENVIRONMENT as ENVIRONMENT
from app.storage.names import EVENTS as EVENTS
from app.storage.names import OUTPUTS as OUTPUTS
from app.storage.names import REPORT_HTML as REPORT_HTML
from app.storage.names import REPORT_JSON as REPORT_JSON
from app.storage.names import REQUESTS as REQUESTS
from app.storage.names import RESULT as RESULT
from app.storage.names import SPEC as SPEC
from app.storage.names import TELEMETRY as TELEMETRY
from app.storage.results import decode_result, describe_other_schema
from app.storage.streams import StreamWriter, read_stream, stream_batches
from app.storage.unbuffered_file import UnbufferedFile
from loadgen.decoding import json_decoder
from loadgen.records import REQUEST_SCHEMA

_ORIGINAL_COLUMNS = (
    "stage", "index", "scheduled_ns", "sent_ns", "first_byte_ns", "end_ns", "status", "error", "bytes_received",
    "reused",
)  # fmt: skip
_LATER_COLUMNS = tuple(name for name in REQUEST_SCHEMA.names if name not in _ORIGINAL_COLUMNS)

_MAX_START_BYTES = 1 << 20
"""Maximum size of a run's first event in bytes."""
MAX_SLUG_CHARACTERS = 40
"""Maximum length of the profile name in a run ID, in characters."""
_MAX_LISTED_RUNS = 3
_RUNS_HINT = "List the runs with `sizewise runs list`."
_SCHEMA_HINT = "Open it with the version of Sizewise that measured it."
_T = TypeVar("_T")
_decode_event = json_decoder(Event)


def runs_home() -> Path:
    """Return the default folder of runs, used without --out: `runs` in SIZEWISE_HOME or in the
    user's data folder."""
    return _find_data_folder() / "runs"


def models_home() -> Path:
    """Return the folder of the models that Sizewise writes itself, beside the folder of runs."""
    return _find_data_folder() / "models"


def _find_data_folder() -> Path:
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_data_dir("sizewise", appauthor=False))


def new_run_id(name: str, at: datetime) -> str:
    """Create a unique run ID that contains the profile name and the time in UTC."""
    return f"{at.astimezone(UTC):%Y%m%d-%H%M%S}-{slugify(name)}-{secrets.token_hex(2)}"


def parse_start_time(name: str) -> str | None:
    """Return the start time in a run ID, which is also the name of the run's directory in the
    library, as ISO 8601; `None` if it contains no time."""
    try:
        return datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return None


def slugify(name: str) -> str:
    """Convert a profile name to the form used in run IDs."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_SLUG_CHARACTERS] or "run"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: the content is written to a temporary file and
    flushed to disk, and the file is renamed. If that fails, the temporary file is removed."""
    temporary_path = path.parent / f"{path.name}.part"
    try:
        with temporary_path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary_path.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the temporary file may not exist
            temporary_path.unlink()
        raise
    _sync_folder(path.parent)


def write_document(path: Path, content: bytes) -> Path:
    """Write a file to a path chosen by the user and return the path. Raises UsageError if the file
    cannot be written."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="Choose another path with --out."
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that the renaming of a file in the folder survives a power
    loss."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class IntactData(msgspec.Struct, frozen=True):
    """Data of a resumed run that are intact: the number of bytes from the start of each file, and the byte
    span of each stage's rows."""

    events_bytes: int
    requests_bytes: int
    telemetry_bytes: int
    spans: dict[int, tuple[int, int]]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of intact bytes, by file name."""
        return {EVENTS: self.events_bytes, REQUESTS: self.requests_bytes, TELEMETRY: self.telemetry_bytes}


class RunWriter:
    """Writer for the data of one run. Requests, telemetry and events may be written from different
    threads."""

    def __init__(self, directory: Path, intact_data: IntactData | None = None) -> None:
        """Create the run, or continue the run in `directory` if `intact_data` is given.

        Raises UsageError if the directory already contains another run or cannot be created.
        """
        try:
            directory.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)
            if intact_data is None and (directory / EVENTS).exists():
                raise UsageError(
                    f"{directory} already contains a run",
                    hint="Choose another path with --out, or remove the run first.",
                )
            if intact_data is not None:
                remove_control_files(directory)
            self._control = CommandInbox(directory)
            sizes = {} if intact_data is None else intact_data.sizes
            self._journal = Journal(directory, None if intact_data is None else sizes)
            self._events = UnbufferedFile(directory / EVENTS, sizes.get(EVENTS))
            self._requests = StreamWriter(directory / REQUESTS, REQUEST_SCHEMA, sizes.get(REQUESTS), self._journal)
            self._telemetry = StreamWriter(directory / TELEMETRY, TELEMETRY_SCHEMA, sizes.get(TELEMETRY), self._journal)
        except OSError as error:
            raise UsageError(
                f"a run cannot be written to {directory}: {error.strerror}", hint="Choose another path with --out."
            ) from None
        self.directory = directory
        self._calls: StreamWriter | None = None
        self._spans: dict[int, tuple[int, int]] = {} if intact_data is None else dict(intact_data.spans)
        self._encode = msgspec.json.Encoder().encode

    def write_spec(self, spec_text: str) -> None:
        self._write_data(SPEC, spec_text.encode())

    def write_environment(self, environment: Environment) -> None:
        self._write_data(ENVIRONMENT, msgspec.json.format(self._encode(environment), indent=2))

    def write_calibration(self, calibration: Calibration) -> None:
        self._write_data(CALIBRATION, msgspec.json.format(self._encode(calibration), indent=2))

    def append_event(self, event: Event) -> None:
        self._journal.append(self._events, self._encode(event) + b"\n")
        if isinstance(event, StageFinished | VariantFinished | RunFinished):
            self._events.sync()
            self._journal.sync()

    def sync_rows(self) -> None:
        """Flush all rows to disk. Call this at the end of a stage, before the stage is reported as
        finished."""
        for stream in (self._requests, self._calls, self._telemetry):
            if stream is not None:
                stream.sync()
        self._journal.sync()

    def append_requests(self, batch: pa.RecordBatch) -> None:
        """Append a batch of requests that all belong to one stage. The batches of a stage must be
        appended consecutively."""
        self._append(self._requests, batch)

    def stage_requests(self, stage: int, excluded_columns: Collection[str] = ()) -> pa.Table:
        """Read the requests of one stage from the file, without the columns in
        `excluded_columns`."""
        span = self._spans.get(stage, (0, 0))
        return read_stream(
            self.directory / REQUESTS, REQUEST_SCHEMA, excluded_columns=excluded_columns, span=span, is_trusted=True
        )

    def append_calls(self, batch: pa.RecordBatch) -> None:
        """Append a batch of calls of a local model that all belong to one stage. A run has either
        calls or requests.

        The file is created with the first batch.
        """
        if self._calls is None:
            self._calls = StreamWriter(self.directory / CALLS, CALL_SCHEMA, journal=self._journal)
        self._append(self._calls, batch)

    def stage_calls(self, stage: int) -> pa.Table:
        if self._calls is None:
            return CALL_SCHEMA.empty_table()
        return read_stream(self.directory / CALLS, CALL_SCHEMA, span=self._spans.get(stage, (0, 0)), is_trusted=True)

    def _append(self, stream: StreamWriter, batch: pa.RecordBatch) -> None:
        start = stream.size
        stream.append(batch)
        if batch.num_rows:
            stage = batch["stage"][0].as_py()
            self._spans[stage] = (self._spans.get(stage, (start, start))[0], stream.size)

    def store_outputs(self, name: str, outputs: npt.NDArray[Any]) -> str:
        """Store model outputs as the array `outputs` of an .npz file, and return the absolute path
        of the file.

        Stored outputs are part of the run data.
        """
        content = io.BytesIO()
        np.savez(content, outputs=outputs)
        return self._store_file(f"{name}.npz", content.getvalue())

    def store_text_scores(self, name: str, content: bytes) -> None:
        """Store the encoded predictions of a language model on a text, which are part of the run
        data."""
        self._store_file(f"{name}.npz", content)

    def _store_file(self, name: str, content: bytes) -> str:
        folder = self.directory / OUTPUTS
        folder.mkdir(exist_ok=True)
        self._write_data(f"{OUTPUTS}/{name}", content)
        return str((folder / name).absolute())

    def telemetry(self) -> pa.Table:
        return read_stream(self.directory / TELEMETRY, TELEMETRY_SCHEMA, is_trusted=True)

    def append_telemetry(self, batch: pa.RecordBatch) -> None:
        self._telemetry.append(batch)

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        self._control.process(handle)

    def seal(self) -> tuple[Artifact, ...]:
        """Close the row streams, and return the name and SHA-256 hash of every data file."""
        self._close_streams()
        names = (SPEC, ENVIRONMENT, CALIBRATION, REQUESTS, CALLS, TELEMETRY)
        output_names = sorted(f"{OUTPUTS}/{path.name}" for path in (self.directory / OUTPUTS).glob("*.npz"))
        return tuple(
            _build_artifact(self.directory, name)
            for name in (*names, *output_names)
            if (self.directory / name).exists()
        )

    def write_result(self, result: Result) -> str:
        """Write `result.json` and return its content."""
        content = msgspec.json.format(self._encode(result), indent=2)
        self._write_data(RESULT, content)
        return content.decode()

    def write_file(self, name: str, content: bytes) -> Path:
        write_atomically(self.directory / name, content)
        return self.directory / name

    def close(self) -> None:
        self._control.close()
        self._close_streams()
        self._events.close()
        self._journal.close()

    def _write_data(self, name: str, content: bytes) -> None:
        self._journal.replace(name, content)
        write_atomically(self.directory / name, content)

    def _close_streams(self) -> None:
        self._requests.close()
        self._telemetry.close()
        if self._calls is not None:
            self._calls.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class StoredRun:
    """A stored run. Data that an interrupted run lacks is `None` or empty; a run is complete if it
    has a RunFinished event."""

    def __init__(self, directory: Path) -> None:
        """Open the run. Raises UsageError if the directory does not contain a run."""
        if not (directory / EVENTS).exists() and not (directory / RESULT).exists():
            raise UsageError(f"{directory} does not contain a run", hint=_RUNS_HINT)
        self.directory = directory

    @property
    def run_id(self) -> str:
        return self.result.run_id if self.result else self.directory.resolve().name

    @property
    def result(self) -> Result | None:
        """Result of the run; `None` if the run has no result.

        Raises UsageError if `result.json` has another schema, and DamagedFileError if the file
        was changed after it was written.
        """
        if (self.directory / RESULT).exists() and (damage := find_result_damage(self.directory)) is not None:
            raise build_damaged_error(self.directory, (damage,))
        return self.unverified_result

    @property
    def unverified_result(self) -> Result | None:
        """Result of the run without verification of its checksum, for callers that report
        corruption themselves."""
        return self._read(RESULT, decode_result)

    @property
    def environment(self) -> Environment | None:
        return self._read(ENVIRONMENT, json_decoder(Environment))

    @property
    def spec_text(self) -> str | None:
        return self._read(SPEC, bytes.decode)

    @property
    def result_text(self) -> str | None:
        return self._read(RESULT, bytes.decode)

    def events(self, intact_bytes: int | None = None) -> list[Event]:
        """Return the events of all complete lines of the events file; an incomplete last line is
        ignored. With `intact_bytes`, only that number of bytes from the start of the file is
        read."""
        path = self.directory / EVENTS
        lines = path.read_bytes()[:intact_bytes].split(b"\n")[:-1] if path.exists() else []
        try:
            return [_decode_event(line) for line in lines]
        except msgspec.DecodeError as error:
            if (reason := describe_other_schema(lines[0])) is not None:
                raise UsageError(f"{path} cannot be read: {reason}", hint=_SCHEMA_HINT) from None
            raise UsageError(f"{path} is damaged: {error}") from None

    @property
    def is_complete(self) -> bool:
        return self.finished_event is not None

    @property
    def finished_event(self) -> RunFinished | None:
        """Event at the end of the run; `None` if the run is still running or was killed."""
        return next((event for event in self.events() if isinstance(event, RunFinished)), None)

    @property
    def has_lost_result(self) -> bool:
        """True if the run ended and has rows, but no result.json. Raises DamagedFileError if the rows
        cannot be read."""
        return not (self.directory / RESULT).exists() and self.finished_event is not None and self.has_rows

    @property
    def is_running(self) -> bool:
        """True if the engine is still running, as far as this can be determined on this machine."""
        events = self.events()
        started_event = next((event for event in events if isinstance(event, RunStarted)), None)
        is_engine_running = started_event is not None and is_engine_alive(self.directory, started_event.pid)
        return is_engine_running and not any(isinstance(event, RunFinished) for event in events)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Damaged files, whose content differs from the content that was written. Always empty for
        a run that is still being written."""
        return () if self.is_being_written else find_damage(self.directory)

    @property
    def unverified_files(self) -> tuple[str, ...]:
        """Names of data files without a checksum, in which corruption cannot be detected."""
        return () if self.is_being_written else find_unverified_files(self.directory)

    @property
    def is_being_written(self) -> bool:
        """True if an engine is still writing to the run's files, even if the events already report
        the end of the run."""
        if (self.directory / CHECKSUMS).exists() or not (self.directory / EVENTS).exists():
            return False
        started_event = read_started_event(self.directory)
        return started_event is not None and is_engine_alive(self.directory, started_event.pid)

    @property
    def is_imported(self) -> bool:
        """True if the run was imported, and so may come from another machine or user."""
        return (self.directory / IMPORTED).exists()

    @property
    def started_at(self) -> str | None:
        """Wall-clock time with time zone at the start of the run, ISO 8601: the time that the engine
        stored, or else the time in the run ID. `None` if unknown."""
        try:
            started_event = read_started_event(self.directory)
        except OSError:
            started_event = None
        stored_time = None if started_event is None else started_event.started_at
        return parse_start_time(self.directory.name) if stored_time is None else stored_time

    @property
    def has_rows(self) -> bool:
        """True if at least one request or call was stored. Raises DamagedFileError if the rows cannot
        be read."""
        return any(
            next(stream_batches(self.directory / name, schema), None) is not None
            for name, schema in ((REQUESTS, REQUEST_SCHEMA), (CALLS, CALL_SCHEMA))
        )

    def _describe_data(self) -> str:
        """Describe how much an interrupted run has stored."""
        stage_count = sum(isinstance(event, StageFinished | CallsFinished) for event in self.events())
        row_count = sum(
            batch.num_rows
            for name, schema in ((REQUESTS, REQUEST_SCHEMA), (CALLS, CALL_SCHEMA))
            for batch in stream_batches(self.directory / name, schema)
        )
        stages_text = f"{stage_count} finished stage{'' if stage_count == 1 else 's'}, warm-ups included,"
        return f"{stages_text} and the rows of {row_count:,} requests or calls"

    @property
    def complete_result(self) -> Result:
        """Result of a complete run with intact files.

        Raises UsageError with the reason if there is no result, and DamagedFileError if a file
        that the result is based on is corrupted.
        """
        if damage := self.damage:
            raise build_damaged_error(self.directory, damage)
        result = self.result
        if result is not None:
            return result
        if self.is_running:
            raise UsageError(
                f"{self.directory} is still running", hint="Wait until it ends, or stop it with `sizewise runs stop`."
            )
        finished_event = self.finished_event
        if finished_event is not None and self.has_lost_result:
            message = f" (it ended with: {finished_event.message})" if finished_event.message else ""
            raise UsageError(
                f"{self.directory} has measured rows, but no result.json{message}",
                hint="Restore result.json from a copy, or report the finished stages with "
                "`sizewise report RUN --recover`.",
            )
        if finished_event is not None and finished_event.exit_code:
            raise UsageError(
                f"this run stopped before measuring: {finished_event.message}", hint=_suggest_measured_run()
            )
        raise UsageError(
            f"{self.directory} was interrupted and has no result.json. It has {self._describe_data()}",
            hint="Continue it with `sizewise runs resume RUN`, or report its data with "
            "`sizewise report RUN --recover`. Read its rows in Python with `sizewise.open_run(path).requests`, or "
            "`.calls` for a local model.",
        )

    def requests(
        self,
        excluded_columns: Collection[str] = (),
        errors: list[DamagedFileError] | None = None,
        intact_bytes: int | None = None,
    ) -> pa.Table:
        """Return the requests, without the columns in `excluded_columns`. Columns that are missing
        in an older schema are null.

        If `errors` is given, an error is appended to this list instead of raised, and the rows
        before the error are returned. With `intact_bytes`, only that number of bytes from the start
        of the file is read.
        """
        path = self.directory / REQUESTS
        return read_stream(
            path,
            REQUEST_SCHEMA,
            optional_columns=_LATER_COLUMNS,
            excluded_columns=excluded_columns,
            errors=errors,
            end=intact_bytes,
        )

    def calls(self) -> pa.Table:
        """Return the calls of a local model; empty for a run of an endpoint."""
        if not (self.directory / CALLS).exists():
            return CALL_SCHEMA.empty_table()
        return read_stream(self.directory / CALLS, CALL_SCHEMA)

    def telemetry(self, errors: list[DamagedFileError] | None = None, intact_bytes: int | None = None) -> pa.Table:
        """Return the telemetry readings. `errors` and `intact_bytes` have the same meaning as in
        `requests`."""
        return read_stream(self.directory / TELEMETRY, TELEMETRY_SCHEMA, errors=errors, end=intact_bytes)

    def _read(self, name: str, decode: Callable[[bytes], _T]) -> _T | None:
        path = self.directory / name
        if not path.exists():
            return None
        content = b""
        try:
            content = path.read_bytes()
            return decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            if name == RESULT and (reason := describe_other_schema(content)) is not None:
                raise UsageError(f"{path} cannot be read: {reason}", hint=_SCHEMA_HINT) from None
            raise UsageError(
                f"{path} cannot be read: {error}", hint="It may come from a newer version of Sizewise, or be damaged."
            ) from None


def read_started_event(directory: Path) -> RunStarted | None:
    """Return the first event of a run; `None` if it is not the start of a run or is damaged. Raises
    OSError if the events cannot be read."""
    with (directory / EVENTS).open("rb") as file:
        first_line = file.readline(_MAX_START_BYTES)
    try:
        event = _decode_event(first_line)
    except msgspec.DecodeError:
        return None
    return event if isinstance(event, RunStarted) else None


def format_run_name(directory: Path) -> str:
    """Return a name by which `find_run` finds the run: the run ID if the run is in the runs' home,
    otherwise its path."""
    return directory.name if directory.parent == runs_home() else str(directory)


def find_run(name: str) -> StoredRun:
    """Find a run by its directory, its ID, a unique prefix of its ID, or "last". Raises UsageError
    if no run is found.

    "last" is the latest run that is running or has measured something, and that was not imported.
    """
    if name == LAST:
        return _find_last_run()
    directory = Path(name)
    if directory.is_dir():
        return StoredRun(directory)
    runs = list_stored_runs()
    matches = [run for run in runs if run.directory.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UsageError(f"no run matches {name!r}", hint=_RUNS_HINT)
    names = [run.directory.name for run in reversed(matches)]
    listed = f"{', '.join(names[:_MAX_LISTED_RUNS])}{', …' if len(names) > _MAX_LISTED_RUNS else ''}"
    raise UsageError(
        f"the run ID {name!r} is ambiguous: it matches {len(matches)} runs", hint=f"Use one of these: {listed}."
    )


def _find_last_run() -> StoredRun:
    runs = list_own_runs()
    if not runs:
        problem = "only imported runs are stored" if list_stored_runs() else "no run is stored yet"
        raise UsageError(f"there is no last run: {problem}", hint=f"{_RUNS_HINT} Specify one of them by its ID.")
    return next((run for run in reversed(runs) if _is_running_or_measured(run)), runs[-1])


def _suggest_measured_run() -> str:
    """Return a hint that names the last run that measured something."""
    run = next((run for run in reversed(list_own_runs()) if _is_running_or_measured(run)), None)
    return _RUNS_HINT if run is None else f"The last measured run is {run.directory.name}."


def link_run(directory: Path, run_id: str) -> None:
    """Link a run outside the runs' home into the home, so that it is listed and found by its ID.

    A file system without symbolic links has no link, and the run is found only by its directory.
    """
    home = runs_home()
    if directory.resolve().parent == home.resolve():
        return
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        remove_dead_links()
        for link in find_links(directory):  # of an earlier run, which this one replaces
            link.unlink()
        (home / run_id).symlink_to(directory.resolve(), target_is_directory=True)


def find_links(directory: Path) -> list[Path]:
    """Return the links in the runs' home to the directory of a run."""
    return [path for path in _list_links() if path.resolve() == directory.resolve()]


def remove_dead_links() -> None:
    """Remove the links to runs whose directory no longer exists, so that their IDs are free."""
    for path in _list_links():
        if not path.exists():
            path.unlink()


def _list_links() -> list[Path]:
    home = runs_home()
    return [path for path in home.iterdir() if path.is_symlink()] if home.is_dir() else []


def find_free_directory(out: Path, run_id: str) -> Path:
    """Return `out`, or if it already contains a run, the directory for the run `run_id` in it."""
    return out / run_id if (out / EVENTS).exists() or (out / RESULT).exists() else out


def list_stored_runs() -> list[StoredRun]:
    """Return the runs in `runs_home`, in the order in which they started, with the linked runs (see
    `link_run`)."""
    home = runs_home()
    if not home.is_dir():
        return []
    return sorted((StoredRun(path) for path in home.iterdir() if (path / EVENTS).exists()), key=_get_start)


def list_own_runs() -> list[StoredRun]:
    """Return the runs in `runs_home` that were not imported, in the order in which they started."""
    return [run for run in list_stored_runs() if not run.is_imported]


def _get_start(run: StoredRun) -> tuple[float, str]:
    """Return the start of a run in s since the epoch, or the last write to its events if the start
    is unknown, and the name of its directory."""
    try:
        start_s = datetime.fromisoformat(run.started_at or "").timestamp()
    except (ValueError, OverflowError):
        start_s = _get_last_write_s(run.directory / EVENTS)
    return start_s, run.directory.name


def _get_last_write_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # the run was deleted meanwhile
        return 0.0


def _is_running_or_measured(run: StoredRun) -> bool:
    """Return whether the run is running, has a result with a stage, or was killed after its first
    row.

    A run with a corrupted result counts as measured.
    """
    try:
        result = run.result
        if result is not None:
            return bool(result.stages)
        return run.is_running or run.has_rows
    except UsageError:
        return True


def _build_artifact(directory: Path, name: str) -> Artifact:
    with (directory / name).open("rb") as file:
        return Artifact(path=name, sha256=hashlib.file_digest(file, "sha256").hexdigest())
