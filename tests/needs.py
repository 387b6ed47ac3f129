"""Tests that need a program which not every computer has."""

import os
from typing import NoReturn

import pytest

EVERYTHING = "SG2IM_TEST_EVERYTHING"
"""Where this variable of the environment is set, as in .ci/run, such a test fails instead."""


def skip_or_fail(sentence: str) -> NoReturn:
    """Skips the running test with a sentence that says what it needs, and how to get it."""
    if os.environ.get(EVERYTHING):
        pytest.fail(f"{EVERYTHING} is set, but: {sentence}")
    pytest.skip(sentence)
