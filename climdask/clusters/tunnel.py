"""How to see a page that a compute node serves to itself only."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

# Which host a job was submitted from; ours first, as a job may have submitted the next.
_SUBMITTED_FROM = (
    "CLIMDASK_LOGIN", "SLURM_SUBMIT_HOST", "PBS_O_HOST", "LSB_SUB_HOST", "SGE_O_HOST",
)  # fmt: skip


def login_host() -> str:
    """Return the host through which a user reaches the compute nodes."""
    names = (os.environ[key] for key in _SUBMITTED_FROM if os.environ.get(key))
    return next(names, socket.gethostname())


def tunnel(link: str, host: str) -> str:
    """Return the command that brings a page to the user's own machine, under the same address.

    Args:
        link: address of the page on its own host.
        host: that host.
    """
    port, login = urlsplit(link).port, login_host()
    over = f"-J {login} " if login != host else ""  # nobody logs into a compute node
    return f"ssh -N {over}-L {port}:localhost:{port} {host}"
