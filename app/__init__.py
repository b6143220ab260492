"""Sizewise: benchmark AI inference and plan the hardware for it."""

import os

__version__ = "0.1.0"

# ONNX Runtime reads this variable when it is imported; by default it collects and sends telemetry.
# Child processes inherit the variable.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
