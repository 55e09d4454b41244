"""Finished runs as a result set of the MLCommons Science benchmark CloudMask."""
