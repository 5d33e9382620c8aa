"""Small objects of which a plan and its graph have very many."""

from __future__ import annotations

from typing import Any


class Compact:
    """Base of dataclasses with slots: pickled as their values, in order, and nothing else.

    What dataclasses do by themselves looks up the fields of each object, and takes several times as
    long; a graph has thousands of such objects, and each is pickled on its way to a worker again.
    """

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the class and the values that make an equal object."""
        return type(self), tuple([getattr(self, name) for name in self.__slots__])
