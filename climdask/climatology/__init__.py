"""Arithmetic of climate normals: numpy and cftime; knows no file and no Dask."""
