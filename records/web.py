"""Whom this program may speak to on the web: the public internet alone, unless ANCHORFACE_FETCH_PRIVATE=1.

Whatever name or redirection leads there, a socket is made only for an address of the public internet: the name is
resolved once, and the address that it has then is looked at.
"""

import errno
import ipaddress
import os
import socket
from typing import Any

FETCH_PRIVATE = "ANCHORFACE_FETCH_PRIVATE"


def private_allowed() -> bool:
    """Whether the environment allows this machine and the network around it."""
    return os.environ.get(FETCH_PRIVATE) == "1"


def public_socket(address: Any) -> socket.socket:
    """A socket for an address that a name was resolved to, as aiohttp's connector asks for it.

    Raises:
        PermissionError: it is no address of the public internet.
    """
    family, kind, protocol, _, place = address
    if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global:
        raise PermissionError(errno.EACCES, f"{place[0]} is not on the public internet; set {FETCH_PRIVATE}=1 to fetch "
                                            "from your own network")
    return socket.socket(family, kind, protocol)
