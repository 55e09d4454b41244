"""Whole scenes through a network, and the files of the masks that come out."""
