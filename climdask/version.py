"""The version of climdask, alone in its file so that everything may import it."""

__version__ = "0.1.0"
