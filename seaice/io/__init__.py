"""Scenes and class maps as files: found, read, placed on the ground, written."""
