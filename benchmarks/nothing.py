"""A task that does nothing.

In a module of its own: of one in the module that is run as a script, Dask would send the code with
each task instead of its name.
"""

from __future__ import annotations


def nothing(*_: object) -> None:
    """Stand in for any task."""
