"""Addresses that people give: what of them may be stored and printed, and paths as addresses and back.

A URI may carry a password (`postgresql://me:word@host/mlflow`, `s3://key:secret@bucket/runs`). It is used as it was
given and kept nowhere: whatever is stored, printed or raised goes through `redacted`.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCHEME = r"\b[A-Za-z][A-Za-z0-9+.\-]*://"
DATABASE_SCHEME = r"\b(?:postgres|postgresql|mysql|mariadb|mssql|oracle)(?:\+\w+)?://"
SECRET = r"(?:passw(?:or)?d|passwd|pwd|secret|token|signature|credential|access_?key|api_?key)"
_USER = re.compile(rf"({SCHEME})[^\s/?#'\"<>]*@")
_DATABASE_USER = re.compile(rf"({DATABASE_SCHEME})[^:/\s@]*:[^@\s]*@")  # where SQLAlchemy lets a password have any sign
_QUERY = re.compile(rf"([?&](?:[\w.\-]*{SECRET}[\w.\-]*|sig)=)[^&\s'\"<>#]*", re.IGNORECASE)


def redacted(text: str) -> str:
    """A URI, or any text with URIs in it, without `user:password@` and without the values of secret query keys.

    What is left of a URI still names the place: the credentials come from the environment or are given again.
    """
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1***", _USER.sub(r"\1", _DATABASE_USER.sub(r"\1", text)))


def sqlite_address(path: Path) -> str:
    """SQLAlchemy's address of a SQLite file, whatever stands in its name (mlflow/mlflow#4785)."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def sqlite_file(address: str) -> Path | None:
    """The file of a SQLite address, None for one in memory or another database's."""
    scheme, _, rest = address.partition(":///")
    path = unquote(rest.partition("?")[0])
    return Path(path) if scheme.split("+")[0] == "sqlite" and path not in ("", ":memory:") else None


def local_path(address: str) -> Path | None:
    """The path of `file:///...` or of a plain path, None for an address elsewhere."""
    if "://" not in address:
        return Path(address)
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
