"""A few hostile inputs for each reader; ``python -m tests.hostile 400`` gives it many."""

import pytest

from tests.hostile import READERS, outcomes


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_broken_inputs_give_a_sentence_or_a_result(reader):
    for outcome in outcomes(reader, 15, seed=1):
        assert outcome.kind in ("read", "sentence", "exit"), outcome
        assert len(outcome.text) <= 1000 and outcome.text.isprintable(), outcome
        assert outcome.seconds < 20, outcome
