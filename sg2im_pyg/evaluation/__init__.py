"""Scores of layouts and pictures, and the networks and files that they need."""
