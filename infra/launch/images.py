"""Whether a container image is there, asked of its registry before work that needs it waits for it in vain."""

import re
from urllib.parse import urlencode

import requests

from anchorface.records import ConfigurationError

ANSWER = 10.0
"""Seconds that a registry has."""
KINDS = ", ".join(f"application/vnd.{kind}+json" for kind in (
    "oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
    "docker.distribution.manifest.v2"))
LOOPBACK = re.compile(r"(localhost|127\.[\d.]+)(:\d+)?")


def require_image(image: str) -> None:
    """Refuse an image whose registry says that it has none of this name and tag.

    A name without a registry's host, a registry that does not answer from here, and one that tells only those whom it
    knows leave it open: the nodes may know more.

    Args:
        image: `host[:port]/repository[:tag][@digest]`.

    Raises:
        ConfigurationError: there is no such image.
    Source: the OCI distribution specification, 1.1, "Pulling manifests"; its tokens as Docker describes them.
    """
    host, _, rest = image.partition("/")
    if not rest or not re.search(r"[.:]|^localhost$", host):
        return
    name, _, digest = rest.partition("@")
    repository, _, tag = name.partition(":")
    scheme = "http" if LOOPBACK.fullmatch(host) else "https"
    place, headers = f"{scheme}://{host}/v2/{repository}/manifests/{digest or tag or 'latest'}", {"Accept": KINDS}
    try:
        answer = requests.head(place, headers=headers, timeout=ANSWER)
        if answer.status_code == 401:
            token = _token(answer.headers.get("WWW-Authenticate", ""))
            answer = requests.head(place, headers=headers | {"Authorization": f"Bearer {token}"}, timeout=ANSWER)
    except (requests.RequestException, ValueError, LookupError):
        return
    if answer.status_code == 404:
        raise ConfigurationError(f"--image {image}: {host} has no such image; build and push it (infra/images), or "
                                 "take another tag")


def _token(challenge: str) -> str:
    """What a registry gives to anybody who asks as it says; raises LookupError, ValueError or RequestException."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = said.pop("realm")
    if not realm.startswith("https://"):
        raise ValueError(realm)
    return str(requests.get(f"{realm}?{urlencode(said)}", timeout=ANSWER).json()["token"])
