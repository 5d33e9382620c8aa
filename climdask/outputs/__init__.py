"""Normals on disk: formats, names, metadata, provenance."""
