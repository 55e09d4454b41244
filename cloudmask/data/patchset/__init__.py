"""Patch sets: HDF5 files of patches and the manifest that makes them one."""
