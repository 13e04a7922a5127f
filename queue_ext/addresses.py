"""Where the queue may speak to of its own accord: hosts the administrator named, and no address of the inner network.

A name is resolved once, its addresses are checked, and the connection goes to the very address that was checked: a
name that means something else a moment later (DNS rebinding) gains nothing. Redirects are nobody's business here.
"""

import contextlib
import fnmatch
import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")
URL_LIMIT = 2000  # characters


class AddressRefused(OSError):
    """The address is not one that the queue may speak to."""


@dataclass(frozen=True)
class Target:
    """An address taken apart; ``path`` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def shown_host(self) -> str:
        """What goes into the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def target(url: str, hosts: Iterable[str], private: bool) -> Target:
    """``url`` as somewhere we may speak to. Raises ValueError with what is allowed."""
    if len(url) > URL_LIMIT or not re.fullmatch("[!-~]+", url):
        raise ValueError(f"must be an address of up to {URL_LIMIT} ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be an address such as https://hooks.example.com/queue") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("must begin with https:// or http:// and name a host")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must hold no user name, password or fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found = Target(parts.scheme, parts.hostname.rstrip("."), PORTS[parts.scheme] if port is None else port, path)
    if not any(_allows(entry.lower(), found) for entry in hosts):
        raise ValueError("must go to a host that the administrator allows (setting webhook_hosts)")
    if not private and _literal(found.host) and not is_public(found.host):
        raise ValueError("must not go to a private address (setting webhook_private)")
    return found


def _allows(entry: str, found: Target) -> bool:
    """``name`` and ``*.name`` stand for ports 80 and 443, ``name:port`` for that port alone."""
    named = re.fullmatch(r"(.+?):(\d+)", entry) if entry.count(":") == 1 or "]:" in entry else None
    host, ports = (named[1], (int(named[2]),)) if named else (entry, tuple(PORTS.values()))
    host = host.strip("[]")
    matches = found.host == host or (host.startswith("*.") and fnmatch.fnmatchcase(found.host, host))
    return matches and found.port in ports


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet, also the IPv4 address that an IPv6 one may stand for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


def resolve(found: Target, private: bool) -> str:
    """One checked IP address of a host. Raises AddressRefused if any of them is out of bounds, OSError."""
    answers = socket.getaddrinfo(found.host, found.port, type=socket.SOCK_STREAM)
    addresses = [str(answer[4][0]) for answer in answers]
    for address in addresses:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if ip.is_multicast or ip.is_unspecified or not (private or is_public(address)):
            raise AddressRefused("its name leads to a private address, which the setting webhook_private forbids")
    return addresses[0]


class Connection(http.client.HTTPConnection):
    """A connection to the address that was checked, whatever its name means by now; for TLS the name still counts."""

    def __init__(self, found: Target, private: bool, timeout: float) -> None:
        super().__init__(found.host, found.port, timeout=timeout)
        self._found = found
        self._private = private
        self._ended = False

    def connect(self) -> None:
        address = resolve(self._found, self._private)
        self.sock = socket.create_connection((address, self._found.port), self.timeout)
        if self._found.scheme == "https":
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self._found.host)
        if self._ended:
            raise TimeoutError("cut off")

    def getresponse(self) -> http.client.HTTPResponse:
        response = super().getresponse()
        if self._ended:  # the end of what was cut off passes for the end of a header
            raise TimeoutError("cut off")
        return response

    def cut(self) -> None:
        """End it from another thread, whatever it waits for."""
        self._ended = True
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Deadline:
    """Cuts a connection when all of an exchange took too long: a limit of each read alone can be drawn out for ever."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(seconds, connection.cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()
        self._connection.close()
