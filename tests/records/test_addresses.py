"""Promises of addresses: no credentials leave, the place stays; any file name goes into an address and back."""

from pathlib import Path

import pytest

from anchorface.records import AnchorfaceError, DataError, Dropped, PhotoError, StorageError
from anchorface.records.addresses import all_redacted, local_path, redacted, sqlite_address, sqlite_file

NAMES = ["plain", "run #1 50%25 what?", "a&b=c;d@e:f", "ünïcode %3F"]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:s3cret@host:5000/mlflow", "http://host:5000/mlflow"),
        ("https://s3cret@host/a@b", "https://host/a@b"),
        ("postgresql+psycopg2://me:s3/c?r#et@host:5432/db", "postgresql+psycopg2://host:5432/db"),
        ("mysql://me:p@s3cret@host/db?ssl=1&password=s3cret", "mysql://host/db?ssl=1&password=***"),
        ("s3://KEY:s3cret@bucket/runs?region=x&secret_key=s3cret&x=1", "s3://bucket/runs?region=x&secret_key=***&x=1"),
        ("https://host/file?X-Amz-Signature=s3cret&sig=s3cret", "https://host/file?X-Amz-Signature=***&sig=***"),
        ("cannot reach 'http://me:s3cret@a/b' or http://you:s3cret@c", "cannot reach 'http://a/b' or http://c"),
        ("http://host:80/a/b@c", "http://host:80/a/b@c"),
        ("sqlite:////home/me/a:b@c/mlflow.db", "sqlite:////home/me/a:b@c/mlflow.db"),
        ("s3://KEY:s3/cr+s3cret@bucket/a@b", "s3://bucket/a@b"),
        ("http://me:it's s3cret", "http://me:it's s3cret"),
        ("http://me:it's-s3cret@host/a", "http://host/a"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("https://host/?key=s3cret&author=me#access_token=s3cret", "https://host/?key=***&author=me#access_token=***"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Ds3cret", "mssql+pyodbc:///?odbc_connect=***"),
        ("s3://bucket/key:with@sign", "s3://bucket/key:with@sign"),
        ("mail me@example.org about a:b@c", "mail me@example.org about a:b@c"),
        ("/plain/path?password=kept: it is no URI", "/plain/path?password=kept: it is no URI"),
    ],
)
def test_no_credentials_leave_and_the_place_stays(uri: str, shown: str) -> None:
    assert redacted(uri) == shown
    assert redacted(shown) == shown


def test_rows_and_values_of_json_show_no_password() -> None:
    row = Dropped(stage="ingest", uri="http://me:s3cret@host/a?sig=s3cret", row=1, cause="gone",
                  detail="at http://me:s3cret@host/a: 404")
    assert row.uri == "http://host/a?sig=***" and row.detail == "at http://host/a: 404"
    assert Dropped.from_row(row.to_row()) == row
    values = {"dataset": "s3://k:s3cret@bucket/a", "requires": (("source", ("http://me:s3cret@host",)),), "n": 1}
    assert all_redacted(values) == {"dataset": "s3://bucket/a", "requires": [["source", ["http://host"]]], "n": 1}


@pytest.mark.parametrize("kind", [AnchorfaceError, DataError, StorageError])
def test_no_error_shows_a_password(kind: type[AnchorfaceError]) -> None:
    assert str(kind("s3://key:s3cret@bucket/a: cannot be read")) == "s3://bucket/a: cannot be read"
    assert "s3cret" not in str(PhotoError("gone", "http://me:s3cret@host/a.jpg", "no such file"))


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_goes_into_an_address_and_back(name: str) -> None:
    from sqlalchemy.engine import make_url

    path = Path("/tmp", name, "mlflow.db")
    assert sqlite_file(sqlite_address(path)) == path
    assert make_url(sqlite_address(path)).database == str(path)
    assert local_path(path.as_uri()) == path == local_path(str(path))


def test_what_is_no_file_has_no_path() -> None:
    assert sqlite_file("sqlite:///:memory:") is sqlite_file("sqlite://") is sqlite_file("http://host/a") is None
    assert local_path("s3://bucket/a") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("memory://me:s3cret@box/a: cannot be read: /me:s3cret@box/a", "memory://box/a: cannot be read: /box/a"),
        ("s3://KEY:a%2Fs3cret@bucket: no host 's3cret@bucket', no key a/s3cret", "s3://bucket: no host '***@bucket', "
                                                                                 "no key ***"),
        ("http://a/b?sig=s3cret: 403 for /b with s3cret", "http://a/b?sig=*** 403 for /b with ***"),
        ("ftp://me:a@host/a: not a file", "ftp://host/***: not *** file"),
        ("ssh://git@host/x: git says no to git@host", "ssh://host/x: git says no to host"),
        ("http://a/b?key=1: 1 try", "http://a/b?key=*** 1 try"),
    ],
)
def test_what_a_library_cut_out_of_an_address_shows_no_password_either(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown
