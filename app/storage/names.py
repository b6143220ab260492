"""Names of the files in a run directory."""

from __future__ import annotations

SPEC, ENVIRONMENT, EVENTS = "spec.yaml", "environment.json", "events.jsonl"
REQUESTS, CALLS, TELEMETRY = "requests.arrow", "calls.arrow", "telemetry.arrow"
OUTPUTS = "outputs"
"""Folder of model outputs: the first rows of the reference, and the score of each labeled row."""
CALIBRATION, RESULT, REPORT_JSON, REPORT_HTML = "calibration.json", "result.json", "report.json", "report.html"
CHECKSUMS = "checksums.txt"
IMPORTED = ".imported"
"""Name of the empty file that marks an imported run. It stays out of bundles, as all hidden files
do."""
LAST, PROMOTED = "last", "promoted"
RESERVED_RUN_IDS = (LAST, PROMOTED)
"""Words by which commands name a run without its ID, so that no run may have one of them as its
ID."""
JOURNAL = "journal.crc"
"""Name of the file with the checksums of a run that has no `checksums.txt` yet."""
DATA_FILES = (SPEC, ENVIRONMENT, CALIBRATION, EVENTS, REQUESTS, CALLS, TELEMETRY, RESULT)
STREAMS = (EVENTS, REQUESTS, CALLS, TELEMETRY)
"""Files to which rows or events are appended during a run."""
SINGLE_WRITE_FILES = (SPEC, ENVIRONMENT, CALIBRATION, RESULT)
"""Files that are written as a whole instead of being appended to."""
PRIVATE_MODE = 0o700
"""Permissions of a new run folder: only its user can read the responses and prompts in it."""
