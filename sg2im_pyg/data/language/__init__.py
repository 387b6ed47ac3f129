"""Scene graphs as words, both ways: the notation and plain English."""
