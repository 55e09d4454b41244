"""A study or a run held against a published figure: `check`."""
