"""The study's folder: its rows, what a run of the program left, and files for other programs."""
