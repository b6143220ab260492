"""Models and tests of language models in profiles."""

from __future__ import annotations

import re

from app.profiles.problems import BadValueError
from app.records.local import GenerationTest

DEFAULT_TESTS = (GenerationTest(512, 0), GenerationTest(0, 128))
"""Default tests, those of llama-bench."""
_MAX_TOKENS = 1_048_576
_TEST = re.compile(r"(?:pp(?P<prompt>\d{1,7}))?(?P<plus>\+)?(?:tg(?P<output>\d{1,7}))?(?:\s*@\s*d(?P<depth>\d{1,7}))?")


def parse_generation_test(value: object) -> GenerationTest:
    """Parse the name of a test as in llama-bench: `pp512`, `tg128`, `pp512+tg128`, each also with a
    depth such as `tg128 @ d4096`. Raises BadValueError."""
    match = _TEST.fullmatch(value.strip()) if isinstance(value, str) else None
    hint = "Use pp512 (prompt processing), tg128 (token generation), pp512+tg128, or tg128 @ d4096."
    if match is None or bool(match["plus"]) != bool(match["prompt"] and match["output"]):
        raise BadValueError(f"the test {value!r} is unknown", hint=hint)
    test = GenerationTest(*(int(match[part] or 0) for part in ("prompt", "output", "depth")))
    if not test.prompt_tokens + test.output_tokens:
        raise BadValueError(f"the test {value!r} has no tokens", hint=hint)
    if test.total_tokens > _MAX_TOKENS:
        raise BadValueError(f"the test {value!r} exceeds the maximum of {_MAX_TOKENS:,} tokens")
    return test
