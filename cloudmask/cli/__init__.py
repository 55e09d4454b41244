"""Command lines: what can be asked for, how it is read, and how errors are told."""
