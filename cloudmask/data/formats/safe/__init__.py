"""Sentinel-3 SLSTR level 1 products, the `.SEN3` folders."""
