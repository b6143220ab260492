"""Names of the files in a run directory."""

from __future__ import annotations

SPEC, ENVIRONMENT, EVENTS = "spec.yaml", "environment.json", "events.jsonl"
REQUESTS, CALLS, TELEMETRY = "requests.arrow", "calls.arrow", "telemetry.arrow"
OUTPUTS = "outputs"
"""Folder of what models gave: the first rows of references, and the score of each labelled row."""
CALIBRATION, RESULT, REPORT_JSON, REPORT_HTML = "calibration.json", "result.json", "report.json", "report.html"
CHECKSUMS = "checksums.txt"
JOURNAL = "journal.crc"
"""Checksums of a run that has no `checksums.txt` yet."""
FACTS = (SPEC, ENVIRONMENT, CALIBRATION, EVENTS, REQUESTS, CALLS, TELEMETRY, RESULT)
STREAMS = (EVENTS, REQUESTS, CALLS, TELEMETRY)
"""Files that grow while a run goes on."""
WHOLE_FACTS = (SPEC, ENVIRONMENT, CALIBRATION, RESULT)
"""Files that are written at once."""
