"""The tiny landscapes and models of the tests of evaluations."""

from tests.evaluation.conftest import checkpoint, stores

__all__ = ["checkpoint", "stores"]
