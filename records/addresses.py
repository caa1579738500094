"""Addresses that people give: what of them may be stored and printed, and paths as addresses and back.

A URI may carry a password (`postgresql://me:word@host/mlflow`, `s3://key:secret@bucket/runs`, a signed query). It is
used as it was given and kept nowhere: whatever is stored, printed or raised goes through `redacted`. The addresses of
photographs must be kept whole: a source that holds a password is refused (pipelines.sources.walk), and a table's web
address that holds one is named by its row (pipelines.sources.listing).
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

SCHEME = r"\b[A-Za-z][A-Za-z0-9+.\-]*://"
DATABASE_SCHEME = r"\b(?:postgres|postgresql|mysql|mariadb|mssql|oracle)(?:\+\w+)?://"
PERCENT = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
"""Schemes whose paths pyarrow reads percent-encoded; fsspec takes the others as they are written."""
SECRET = r"(?:pass(?:w(?:or)?d|phrase)|passwd|pwd|secret|token|signature|credential|access_?key|api_?key)"
_USER = re.compile(rf"({SCHEME})[^\s/?#\"<>]*@")
# The keys of buckets may have a slash in them.
_PASSWORD = re.compile(rf"({SCHEME})[^\s/?#:@\[\"<>]*:(?!\d*(?:[/?#\s]|$))[^\s@\"<>]*@")
_DATABASE_USER = re.compile(rf"({DATABASE_SCHEME})[^:/\s@]*:[^@\s]*@")  # where SQLAlchemy lets a password have any sign
_KEYS = rf"(?:[\w.\-]*{SECRET}[\w.\-]*|sig|key|jwt|auth|authorization|pass|odbc_connect)"
_QUERY = re.compile(rf"([?&;#]{_KEYS}=)[^&;\s'\"<>#]*", re.IGNORECASE)
LEAST = 6
"""Letters of a query's value, or of a part of a password with a slash in it, that is a secret wherever it stands: the 1
of `key=1` is none (our choice)."""


def redacted(text: str) -> str:
    """A URI, or any text with URIs in it, without `user:password@` and without the values of secret query keys.

    Where one of them stands in the text again, as in a path or host that a library cut out of the URI, it goes too.
    What is left of a URI still names the place: the credentials come from the environment or are given again.
    """
    if "://" not in text:
        return text
    users, words = set[str](), set[str]()

    def user(found: re.Match[str]) -> str:
        said = found[0][len(found[1]) : -1]
        password = said.partition(":")[2]
        users.update((said, unquote(said)))
        for way in (password, unquote(password)):
            words.update((way, *(part for part in way.split("/") if len(part) >= LEAST)))
        return found[1]

    def value(found: re.Match[str]) -> str:
        said = found[0][len(found[1]) :].rstrip(":.,")
        words.update(way for way in (said, unquote(said)) if len(way) >= LEAST)
        return f"{found[1]}***"

    for pattern, leaves in ((_DATABASE_USER, user), (_PASSWORD, user), (_USER, user), (_QUERY, value)):
        text = pattern.sub(leaves, text)
    for each in sorted(users - {""}, key=len, reverse=True):
        text = text.replace(f"{each}@", "")
    for each in sorted(words - {"", "***"}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", "***", text)
    return text


def all_redacted(value: Any) -> Any:
    """A value of JSON with every text in it `redacted`."""
    if isinstance(value, dict):
        return {key: all_redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [all_redacted(inner) for inner in value]
    return redacted(value) if isinstance(value, str) else value


def has_secret(uri: str) -> bool:
    """Whether a URI holds what `redacted` takes out of it."""
    return redacted(uri) != uri


def is_percent(uri: str) -> bool:
    """Whether the path of a URI is percent-encoded."""
    return "://" in uri and uri.partition("://")[0].lower() in PERCENT


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`, whatever the scheme and whatever signs stand in the parts; before a query."""
    address, mark, query = uri.partition("?") if is_percent(uri) else (uri, "", "")
    return "/".join([address.rstrip("/"), *(map(quote, parts) if is_percent(uri) else parts)]) + mark + query


def bucket_and_key(uri: str) -> tuple[str, str]:
    """An object's URI in two: scheme, user, bucket and query; and bucket and key as a path."""
    address, mark, query = uri.partition("?")
    place = _USER.sub(r"\1", _PASSWORD.sub(r"\1", address)).partition("://")[2]
    bucket, slash, key = place.partition("/")
    return address.removesuffix(slash + key) + mark + query, f"{bucket}/{unquote(key)}".rstrip("/")


def key_and_secret(root: str) -> tuple[str, str]:
    """What `bucket_and_key`'s first part says of who asks; empty where the environment says it."""
    key, _, secret = root.partition("?")[0].partition("://")[2].rpartition("@")[0].partition(":")
    return unquote(key), unquote(secret)


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
