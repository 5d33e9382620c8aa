"""Rolling 30-year daily climate normals from daily climate-model output, with Dask."""

__version__ = "0.1.0"
