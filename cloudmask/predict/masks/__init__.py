"""Masks as values, and the files that hold those of whole scenes: NetCDF, HDF5, GeoTIFF."""

from cloudmask.predict.masks.files import SUFFIXES, attributes_of, read_mask, write_mask
from cloudmask.predict.masks.hdf5 import write_hdf5
from cloudmask.predict.masks.netcdf import read_netcdf, write_netcdf
from cloudmask.predict.masks.values import Mask, SceneMask, classify

__all__ = [
    "SUFFIXES",
    "Mask",
    "SceneMask",
    "attributes_of",
    "classify",
    "read_mask",
    "read_netcdf",
    "write_hdf5",
    "write_mask",
    "write_netcdf",
]
