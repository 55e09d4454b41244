"""From scenes to a patch set."""
