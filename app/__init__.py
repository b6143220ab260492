"""Sizewise: measure AI inference, turn the measurement into a hardware decision."""

__version__ = "0.1.0"
