"""Amounts of memory and disk in a cluster profile."""

from __future__ import annotations

import dask.utils

from climdask.errors import ConfigError


def bytes_of(amount: str | int, key: str = "memory") -> int:
    """Return bytes of what a profile says, such as ``16GiB``.

    Raises:
        ConfigError: it is no amount; the message names ``key``.
    """
    try:
        if amount == "" or isinstance(amount, bool):  # Dask reads them as 1
            raise ValueError
        return int(dask.utils.parse_bytes(amount))
    except (ValueError, TypeError, OverflowError):
        raise ConfigError(
            f'cluster: {key}: "{amount}" is no amount; expected such as "16GiB"'
        ) from None
