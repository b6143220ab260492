"""A fake of AMD's package with two GPUs: the second is an older card that supports few readings.
What it does not offer it says so twice, and from the third time on that it is busy.

Put its folder on the path of a process. AMDSMI_STAND_IN names what is wrong: "no library" or "no driver".
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

refused: list[str] = []
TROUBLE = os.environ.get("AMDSMI_STAND_IN")
if TROUBLE == "no library":
    raise KeyError("libamd_smi.so")


class AmdSmiLibraryException(Exception):  # noqa: N818  the package's own name
    def get_error_code(self) -> int:
        return int(self.args[0])


class AmdSmiTemperatureType(IntEnum):
    EDGE = 0
    HOTSPOT = 1
    VRAM = 2


class AmdSmiTemperatureMetric(IntEnum):
    CURRENT = 0


class AmdSmiClkType(IntEnum):
    GFX = 0
    MEM = 1


def amdsmi_init() -> None:
    if TROUBLE == "no driver":
        raise AmdSmiLibraryException(34)


def amdsmi_get_processor_handles() -> list[str]:
    return ["MI300", "MI100"]


def amdsmi_get_gpu_activity(handle: str) -> dict[str, Any]:
    return {"gfx_activity": 93, "umc_activity": 41 if handle == "MI300" else "N/A", "mm_activity": "N/A"}


def amdsmi_get_gpu_vram_usage(handle: str) -> dict[str, int]:
    return {"vram_total": 196_592, "vram_used": 2_560}


def amdsmi_get_power_info(handle: str) -> dict[str, Any]:
    if handle == "MI300":
        return {"current_socket_power": 512, "average_socket_power": "N/A"}
    return {"current_socket_power": 0xFFFF, "average_socket_power": 180}


def amdsmi_get_energy_count(handle: str) -> dict[str, Any]:
    if handle == "MI100":
        return {"power": 4_000_000, "counter_resolution": 15.25, "timestamp": 1}
    return {"power": 1, "energy_accumulator": 2_000_000, "counter_resolution": 15.25, "timestamp": 1}


def amdsmi_get_temp_metric(handle: str, sensor: AmdSmiTemperatureType, metric: AmdSmiTemperatureMetric) -> int:
    if handle == "MI100" and sensor == AmdSmiTemperatureType.VRAM:
        refused.append(handle)
        raise AmdSmiLibraryException(10 if len(refused) < 3 else 15)
    return 55 + 10 * sensor


def amdsmi_get_clock_info(handle: str, clock: AmdSmiClkType) -> dict[str, Any]:
    mhz = 2_100 if clock == AmdSmiClkType.GFX else 1_300
    return {"clk": mhz, "min_clk": 132, "max_clk": mhz} if handle == "MI300" else {"cur_clk": mhz, "max_clk": mhz}
