"""The page that shows what was run, how good it is, and what the masks look like."""
