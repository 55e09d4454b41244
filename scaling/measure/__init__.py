"""Starts every point of a study, watches it from outside, and writes its row."""
