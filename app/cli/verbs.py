"""A command whose first word says what to do."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Each verb's parser says in `act` what it does with the arguments."""
