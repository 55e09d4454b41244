"""One reader for each kind of scene file."""
