"""Pollers of the GPUs of all vendors but NVIDIA, whose GPUs the `Sampler` reads itself."""

from __future__ import annotations

import importlib

from app.records.telemetry_sources import GPU_VENDORS, NVIDIA
from app.telemetry.sampler import Poller


def create_gpu_pollers() -> tuple[Poller, ...]:
    """Return the pollers of the GPUs whose vendor's library is installed. See `GpuVendor`."""
    modules = [importlib.import_module(f"app.telemetry.{vendor.id}") for vendor in GPU_VENDORS if vendor is not NVIDIA]
    return tuple(poller for module in modules for poller in module.create_pollers())
