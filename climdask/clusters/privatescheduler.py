"""A scheduler that shows its pages only to who knows their address.

All users of a host share its loopback. Dask's own prefix of addresses keeps nobody out: it
redirects ``/`` to the prefix, and lists it in ``/sitemap.json``.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

import dask
import distributed
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router


def new_secret() -> str:
    """Return a word that nobody can guess, for the address of pages."""
    return secrets.token_hex(8)


def secret_link() -> str:
    """Return where a page is for who knows its address; others may be on the scheduler's host."""
    return f"http://localhost:{{port}}/{new_secret()}/status"


def with_secret(secret: str) -> str:
    """Return the user's template of a dashboard's address, which may lead to a proxy, with it."""
    template = str(dask.config.get("distributed.dashboard.link", None) or "")
    return f"{template.removesuffix('/status').rstrip('/')}/{secret}/status" if template else ""


def prefix_of(link: str) -> str | None:
    """Return what stands before the names of a dashboard's pages in their addresses."""
    return "/".join(link.split("/")[3:-1]) or None


class Scheduler(distributed.Scheduler):  # type: ignore[misc]
    """Answers browsers only below its prefix; without one, it answers none.

    It has the name of Dask's, with which it tells what it is.
    """

    def __init__(self, *args: Any, http_prefix: str | None = None, **keywords: Any) -> None:
        self._secret = http_prefix or new_secret()
        super().__init__(*args, http_prefix=http_prefix, **keywords)

    def start_http_server(self, *args: Any, **keywords: Any) -> None:
        """Serve pages as Dask does, behind the secret."""
        super().start_http_server(*args, **keywords)
        self.http_server.request_callback = _Behind(self._secret, self.http_application)


class _Behind(Router):  # type: ignore[misc]
    """Hands on requests whose address begins with a secret; all others find nothing."""

    def __init__(self, secret: str, pages: Router) -> None:
        self.secret, self.pages = secret, pages

    def find_handler(
        self, request: HTTPServerRequest, **keywords: Any
    ) -> HTTPMessageDelegate | None:
        given = request.path.strip("/").partition("/")[0]
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            return None
        found: HTTPMessageDelegate | None = self.pages.find_handler(request, **keywords)
        return found
