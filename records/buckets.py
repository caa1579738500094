"""The client of a bucket: where its server stands and who asks.

Both come from the usual environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE, ...), and a URI may
say them too.
"""

import os
from functools import lru_cache
from urllib.parse import parse_qsl

from pyarrow import fs

from anchorface.records.addresses import bucket_and_key, key_and_secret
from anchorface.records.errors import StorageError

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""How the environment names the server of buckets; without it that is AWS, which is asked for a bucket's region."""

PATIENCE = 60.0
"""Seconds without a byte after which a request to a bucket is made again (our choice)."""


def server() -> str:
    """The address of the server that the environment names, empty for AWS's own."""
    return next(filter(None, map(os.environ.get, ENDPOINTS)), "")


def client(root: str) -> fs.S3FileSystem:
    """One client, and its connections, for a process and what its environment says; a small object is one request.

    Args:
        root: `bucket_and_key`'s first part.

    Raises:
        StorageError: its query says anything but region, scheme and endpoint_override.
    """
    return _client(root, os.getpid(), tuple(sorted(each for each in os.environ.items() if each[0].startswith("AWS_"))))


@lru_cache(maxsize=32)
def _client(root: str, process: int, environment: tuple[tuple[str, str], ...]) -> fs.S3FileSystem:
    said, (key, secret) = dict(parse_qsl(root.partition("?")[2])), key_and_secret(root)
    if unknown := said.keys() - {"region", "scheme", "endpoint_override"}:
        raise StorageError(f"{root}: {', '.join(sorted(unknown))} is none of region, scheme and endpoint_override")
    if server():
        said.setdefault("endpoint_override", server())
    if not said.keys() & {"region", "endpoint_override"}:
        said["region"] = fs.resolve_s3_region(bucket_and_key(root)[1])
    if key:
        said |= {"access_key": key, "secret_key": secret}
    return fs.S3FileSystem(**said, request_timeout=PATIENCE, allow_delayed_open=True)
