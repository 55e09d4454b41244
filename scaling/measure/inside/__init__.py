"""Plain scripts that the study starts: they import nothing of it."""
