"""Sizewise: measure AI inference, turn the measurement into a hardware decision."""

import os

__version__ = "0.1.0"

# ONNX Runtime reads this when it is imported: by default it stores and sends telemetry. Child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
