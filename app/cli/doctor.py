"""Report the capabilities of this machine, and what would make measurements on it unreliable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.commands import Command
from app.cli.options import OutputOptions, output_options, parse_output

if TYPE_CHECKING:
    from app.records.machine import MachineInfo, MachineNow


def _inspect_machine(requested_output: OutputOptions) -> int:
    from app.cli.colors import print_with_colors
    from app.cli.tables import format_environment, format_table, print_json
    from app.records.result import Check
    from app.telemetry.machine_state import read_machine_state
    from app.wiring.machine import read_machine_info
    from reports.sections.section import Column

    output = parse_output(requested_output)
    machine_state, machine_info = read_machine_state(), read_machine_info()
    if output == "json":
        document = {
            "environment": machine_info.environment,
            "checks": machine_info.checks,
            "refused": machine_info.unavailable_providers,
            "now": machine_state,
        }
        print_json(document)
        return 0
    if output == "table":
        for line in (
            *format_environment(machine_info.environment),
            *_format_unavailable_providers(machine_info),
            *_format_gpus(machine_state),
        ):
            print(line)
        print()
    columns = (
        Column[Check]("verdict", "verdict", is_status=True),
        Column[Check]("id"),
        Column[Check]("name", "check"),
        Column[Check]("value", "value"),
        Column[Check]("limit"),
        Column[Check]("unit", "unit"),
        Column[Check]("hint", "action"),
    )
    print_with_colors(format_table(columns, machine_info.checks, output))
    return 0


def _format_unavailable_providers(machine_info: MachineInfo) -> list[str]:
    return [
        f"            not available: {provider.provider} ({provider.reason})"
        for provider in machine_info.unavailable_providers
    ]


def _format_gpus(machine_state: MachineNow) -> list[str]:
    from app.cli.tables import format_cell

    return [
        f"{gpu.source:<12}{format_cell(gpu.temperature_c)} °C, {format_cell(gpu.utilization_percent)} % utilization, "
        f"{format_cell(gpu.memory_gib)} GiB used, {format_cell(gpu.power_w)} W, {format_cell(gpu.clock_mhz)} MHz"
        + (f", throttled by {', '.join(gpu.throttled_by)}" if gpu.throttled_by else "")
        for gpu in machine_state.gpus
    ]


COMMAND = Command(
    "doctor",
    _inspect_machine,
    output_options("print the environment and the checks as JSON"),
    documentation=__doc__,
    examples=("sizewise doctor",),
)
