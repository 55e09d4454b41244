"""What is fast and how fast, each figure beside a named reference from the same run."""
