"""Cloud and sea-ice masks from satellite scenes: U-Nets trained on many ranks with Horovod."""

__version__ = "0.1.0"
