"""Seeded SLSTR scenes with a known truth."""
