"""Credentials of a run: TLS for scheduler, workers and client.

Whoever reaches a Dask scheduler runs code as its user, so nobody gets in without them; on loopback
too, which all users of a host share. On this machine they are handed on in memory. For other hosts
they are in a private folder, and only paths are handed on; the files are for their owner alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import distributed

from climdask.errors import ClusterError
from climdask.plaintext import command
from climdask.settings.profiles import SecurityFiles


@dataclass(frozen=True)
class Credentials:
    """Files of one identity, shared by all processes of a run.

    Attributes:
        ca_file: certificate of the authority, PEM.
        cert: certificate, PEM.
        key: private key, PEM.
    """

    ca_file: Path
    cert: Path
    key: Path

    @property
    def security(self) -> distributed.Security:
        """What Dask's scheduler, workers and clients take; paths, nothing secret."""
        files = {
            f"tls_{role}_{kind}": str(path)
            for role in ("scheduler", "worker", "client")
            for kind, path in (("cert", self.cert), ("key", self.key))
        }
        return distributed.Security(tls_ca_file=str(self.ca_file), require_encryption=True, **files)

    @property
    def paths(self) -> dict[str, str]:
        """Where the files are, for other processes of the run."""
        return {"ca_file": str(self.ca_file), "cert": str(self.cert), "key": str(self.key)}

    @classmethod
    def at(cls, paths: Mapping[str, str]) -> Credentials:
        """Return what :attr:`paths` returned."""
        return cls(*(Path(paths[name]) for name in ("ca_file", "cert", "key")))


def credentials_in_memory() -> distributed.Security:
    """Make credentials for processes that this one starts; no file of them stays."""
    return distributed.Security.temporary()


def temporary_credentials(folder: Path) -> Credentials:
    """Make credentials in a new folder, 0700; its files have 0600.

    Raises:
        ClusterError: the folder cannot be made.
    """
    made = credentials_in_memory()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, content in (("cert.pem", made.tls_client_cert), ("key.pem", made.tls_client_key)):
            (folder / name).touch(mode=0o600)  # private before anything is in it
            (folder / name).write_text(content, encoding="ascii")
    except OSError as error:
        raise ClusterError(f"{folder}: cannot hold credentials ({error.strerror})") from None
    # The certificate signs itself, so it is its own authority.
    return credentials_in(folder)


def credentials_in(folder: Path) -> Credentials:
    """Return the credentials that another process of the run has made in a folder."""
    return Credentials(folder / "cert.pem", folder / "cert.pem", folder / "key.pem")


def site_credentials(files: SecurityFiles) -> Credentials:
    """Return the site's own credentials.

    Raises:
        ClusterError: a file cannot be read, or others can read the key.
    """
    found = Credentials(*(p.expanduser() for p in (files.ca_file, files.cert, files.key)))
    for key, path in (("ca_file", found.ca_file), ("cert", found.cert), ("key", found.key)):
        if not os.access(path, os.R_OK) or not path.is_file():
            raise ClusterError(
                f"cluster: security.{key}: {path} cannot be read; expected a PEM file"
            )
    if found.key.stat().st_mode & 0o077:
        raise ClusterError(
            f"cluster: security.key: others can read {found.key}; make it private: "
            f"{command('chmod', '600', found.key)}"
        )
    return found


def remove_credentials(folder: Path) -> None:
    """Remove temporary credentials; nothing happens where there are none."""
    shutil.rmtree(folder, ignore_errors=True)
