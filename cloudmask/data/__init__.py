"""Scenes, patch sets and how to get from one to the other; numpy and h5py, never a network."""
