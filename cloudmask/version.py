"""The version, by itself: records and the build read it and nothing else."""

__version__ = "0.1.0"
