"""Storage roots: where files lie, in local folders or at URLs that fsspec knows (s3://, http(s)://, memory:// …).

A root is written as text. What has `://` in it is a URL, and everything else a folder; `file://` is a folder too.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from skydb.errors import UsageError

from .cells import LOCAL

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""How long to wait for a server, and for the next of its bytes."""

_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3"}
"""The extra of skydb that brings what a protocol needs."""


@dataclass(frozen=True)
class Place:
    """Where one copy of a file lies: on which host, under which root, at which path below it."""

    host: str
    root: str
    path: str

    @classmethod
    def of(cls, path: Path) -> Place:
        """Return the place of a local file."""
        return cls(LOCAL, str(path.parent), path.name)

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder of this machine."""
        return not is_url(self.root)

    @property
    def local(self) -> Path:
        """Its path on this machine."""
        return Path(self.root) / self.path

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{self.root.rstrip('/')}/{self.path}"

    @property
    def where(self) -> str:
        """Where it lies, for people."""
        return f"{self}" if self.host == LOCAL else f"host {self.host}: {self}"

    def __str__(self) -> str:
        return str(self.local) if self.is_local else self.url


def is_url(path: str | PathLike[str]) -> bool:
    """Say whether a path is a URL of something that is no local folder.

    >>> is_url("s3://bucket/survey.sky"), is_url("/data/survey.sky"), is_url("file:///data/survey.sky")
    (True, False, False)
    """
    text = fspath(path)
    return "://" in text and not text.startswith("file://")


def root_named(text: str, home: str) -> str:
    """Return a storage root as a catalog writes it, as an absolute folder or a URL.

    Parameters
    ----------
    text
        Empty: the database's own folder.
    home
        That folder, or its URL.

    Examples
    --------
    >>> root_named("", "http://host/survey.sky"), root_named("file:///data/b", "/data/survey.sky")
    ('http://host/survey.sky', '/data/b')
    """
    if not text:
        return home
    return unquote(urlsplit(text).path) if text.startswith("file://") else text


def filesystem_of(url: str) -> Any:
    """Return the fsspec file system that reads a URL.

    Raises
    ------
    UsageError
        fsspec knows no such protocol, or what it takes is not installed.
    """
    import fsspec

    protocol = url.split("://")[0]
    try:
        return fsspec.filesystem(protocol, **_patience(protocol))
    except ImportError as error:
        extra = f"`pip install 'skydb[{_EXTRAS[protocol]}]'`" if protocol in _EXTRAS else "install it"
        raise UsageError(f"what reads {protocol}:// is not installed: {error}", url, extra) from error
    except ValueError as error:
        raise UsageError(f"nothing reads {protocol}://", url, "give a folder, or a URL that fsspec knows") from error


def _patience(protocol: str) -> dict[str, Any]:
    """Return the options by which a file system waits so long and no longer, and gets bytes as they are stored."""
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return {"client_kwargs": {"timeout": timeout, "trust_env": True}, "headers": {"Accept-Encoding": "identity"}}
    if protocol in ("s3", "s3a"):
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": 2}}
        return {"config_kwargs": waits}
    return {}
