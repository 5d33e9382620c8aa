"""How to see a page that a compute node serves to itself only."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from climdask.clusters.batchsystems import SYSTEMS
from climdask.plaintext import command

# Which host our own job was submitted from: first of all, as a job may have submitted the next.
LOGIN = "CLIMDASK_LOGIN"


def login_host() -> str:
    """Return the host through which a user reaches the compute nodes."""
    variables = (LOGIN, *(system.submit_host for system in SYSTEMS.values()))
    names = (os.environ[key] for key in variables if os.environ.get(key))
    return next(names, socket.gethostname())


def tunnel(link: str, host: str) -> str:
    """Return the command that brings a page to the user's own machine, under the same address.

    Args:
        link: address of the page on its own host.
        host: that host.
    """
    port, login = urlsplit(link).port, login_host()
    over = ("-J", login) if login != host else ()  # nobody logs into a compute node
    return command("ssh", "-N", *over, "-L", f"{port}:localhost:{port}", host)
