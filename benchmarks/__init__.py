"""Benchmarks: climdask, the usual ways and the floors, on the same data, cores and regions.

``python -m benchmarks --quick`` runs them; README.md tells how to read what they print.
"""
