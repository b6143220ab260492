"""Print the tests of a language model as a table with the columns of llama-bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.cli.options import OutputFormat
from app.cli.streams import print_whole
from app.cli.tables import format_table, print_json
from app.errors import UsageError
from app.profiles.local import LocalProfile
from app.profiles.profile import Profile
from reports.formatting import format_size
from reports.local_model import GenerationTestRow, LocalSection, VariantRow
from reports.sections.section import Cell, Column

if TYPE_CHECKING:
    from app.cli.options import ProgressOptions


class _MeasuredTest(NamedTuple):
    variant: VariantRow
    test: GenerationTestRow


def check_output(profile: Profile, progress: ProgressOptions) -> None:
    """Raise UsageError if the table of tests is requested together with other output, or for a
    profile without tests."""
    other_option = "--json" if progress.json else "--events" if progress.events is not None else None
    if other_option is not None:
        raise UsageError(f"{other_option} and --output cannot be combined", hint="Use one of them.")
    if not isinstance(profile, LocalProfile) or not profile.generation_tests:
        raise UsageError(
            "--output prints the tests of a language model, but this profile does not run one on this machine",
            hint="Use --json, or create a report afterwards, such as `sizewise report last --format markdown`.",
        )


def print_test_table(local: LocalSection, output: OutputFormat) -> None:
    """Print one row per test to standard output. Repeated measurements, which show drift, are
    omitted."""
    rows = [_MeasuredTest(variant, test) for variant in local.variants for test in variant.tests if test.repeat == 1]
    if output == "json":
        named_columns = [column for column in _COLUMNS if column.key]
        print_json([{column.key: column.read_cell(row) for column in named_columns} for row in rows])
        return
    print_whole(format_table(_COLUMNS, rows, output))


def _format_rate(row: _MeasuredTest) -> Cell:
    """Format the rate with the half-width of its 95 % interval, whose lower half may end at 0."""
    rate = row.test.rate
    if rate.value is None:
        return None
    low_high = rate.ci95
    return f"{rate.value:.2f}" if low_high is None else f"{rate.value:.2f} ± {low_high[1] - rate.value:.2f}"


def _format_parameters(row: _MeasuredTest) -> Cell:
    """Format the number of parameters as llama-bench does, such as 1.24 B or 134.52 M."""
    count = row.variant.parameters
    if count is None:
        return None
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"


def _get_bound(row: _MeasuredTest, index: int) -> Cell:
    return None if row.test.rate.ci95 is None else row.test.rate.ci95[index]


_COLUMNS: tuple[Column[_MeasuredTest], ...] = (
    Column("model", "model", lambda row: row.variant.model),
    Column("precision", "precision", lambda row: row.variant.precision),
    Column("", "size", lambda row: None if row.variant.size_bytes is None else format_size(row.variant.size_bytes)),
    Column("size_bytes", "", lambda row: row.variant.size_bytes),
    Column("", "params", _format_parameters),
    Column("params", "", lambda row: row.variant.parameters),
    Column("backend", "backend", lambda row: row.variant.provider),
    Column("threads", "threads", lambda row: row.variant.threads),
    Column("batch", "batch", lambda row: row.variant.batch),
    Column("test", "test", lambda row: row.test.test),
    Column("", "t/s (± 95 % CI)", _format_rate),
    Column("tokens_per_s", "", lambda row: row.test.rate.value),
    Column("tokens_per_s_low", "", lambda row: _get_bound(row, 0)),
    Column("tokens_per_s_high", "", lambda row: _get_bound(row, 1)),
    Column("repetitions", "", lambda row: row.test.repetitions),
    Column("validity", "", lambda row: row.test.validity),
)
