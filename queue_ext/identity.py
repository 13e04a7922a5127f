"""Who is asking, and what they may do (contract, section 5)."""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from .errors import JobNotFound, NotAllowed, NotAuthenticated, invalid
from .settings import Settings
from .tokens import TokenRefused, Tokens, bearer

COOKIE = "queue_client"
HEADER = "x-queue-client"
ANONYMOUS = "anonymous"
PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host", "cf-connecting-ip")


@dataclass(frozen=True)
class Visitor:
    """What a request or a socket shows of its sender. Header names are lower case."""

    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    address: str | None = None
    client_id: str | None = None  # said in the handshake of a socket
    token: str | None = None  # likewise


@dataclass(frozen=True)
class Owner:
    """Somebody who submits jobs. ``id`` is public and never the secret it was made from."""

    id: str
    admin: bool = False
    expires_at: float | None = field(default=None, compare=False)  # of the token that said so, seconds since the epoch

    @property
    def known(self) -> bool:
        return self.id != ANONYMOUS


Authenticator = Callable[[Visitor], "str | None"]
"""The host's login: a user's name, None where the host asks for no login; raises NotAuthenticated."""


class Identity:
    """Tells owners apart and knows what each may see and do."""

    def __init__(
        self, settings: Settings, authenticate: Authenticator | None = None, login: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings = settings
        self._authenticate = authenticate
        self._login = login
        self.tokens: Tokens | None = None  # known once the database is open, which keeps the key

    @property
    def shared(self) -> bool:
        """Whether everyone sees and manages all jobs."""
        return (self._settings.visibility or ("private" if self._login() else "shared")) == "shared"

    def owner(self, visitor: Visitor) -> Owner:
        """Who this is. Raises NotAuthenticated, or InvalidRequest for a client id of the wrong form."""
        token = visitor.token or bearer(visitor.headers.get("authorization", ""))
        if token is not None and self.tokens is not None:
            name, is_login, expires_at = self.tokens.read(token)
            if self._login() and not is_login:
                raise TokenRefused(reason="This token is of a time without a login; log in and get another.")
            return Owner(name, name in self._settings.admins if is_login else _is_local(visitor), expires_at)
        user = self._authenticate(visitor) if self._authenticate else None
        if user is not None:
            return Owner(user, user in self._settings.admins)
        said = {
            "client_id": visitor.client_id,
            HEADER: visitor.headers.get(HEADER),
            COOKIE: visitor.cookies.get(COOKIE),
        }
        where, client_id = next(((where, said[where]) for where in said if said[where]), ("", None))
        return Owner(owner_of(client_id, where) if client_id else ANONYMOUS, _is_local(visitor))

    def token(self, visitor: Visitor) -> tuple[str, Owner, float]:
        """A token for whoever is asking, its owner, and when it expires. Raises NotAuthenticated."""
        assert self.tokens is not None
        owner = self.owner(visitor)
        if owner.expires_at is not None:
            raise NotAuthenticated(reason="A token is not made from a token: log in, or send the client id.")
        if not owner.known:
            raise NotAuthenticated(
                reason="Say who you are: this queue has no login, send a client id of your own in X-Queue-Client."
            )
        expires_at = float(int(time.time() + self._settings.token_ttl_s))
        login = self._authenticate is not None and self._authenticate(visitor) is not None
        return self.tokens.make(owner.id, login, expires_at), owner, expires_at

    def sees(self, owner: Owner, job: Mapping[str, Any]) -> bool:
        return self.shared or owner.admin or job["owner"] == owner.id

    def viewer(self, owner: Owner) -> str | None:
        """Whose jobs alone this owner may see; None for everybody's."""
        return None if self.shared or owner.admin else owner.id

    def require_sight(self, owner: Owner, job: Mapping[str, Any]) -> None:
        """Raises JobNotFound: that a job of somebody else exists is nobody's business."""
        if not self.sees(owner, job):
            raise JobNotFound(job_id=job["id"])

    def require_admin(self, owner: Owner, action: str) -> None:
        """Raises NotAllowed."""
        if not (self.shared or owner.admin):
            raise NotAllowed(action=action, who="admins")


def owner_of(client_id: str, where: str = "client_id") -> str:
    """The public name of a secret client id. Raises InvalidRequest for what stands ``where``."""
    if not re.fullmatch(r"[\x21-\x7e]{16,128}", client_id):
        raise invalid(where, msg="must be 16 to 128 printable ASCII characters without spaces")
    return "client-" + hashlib.sha256(client_id.encode()).hexdigest()[:24]


def new_client_id() -> str:
    return secrets.token_urlsafe(24)


def _is_local(visitor: Visitor) -> bool:
    """From this very machine, and not through a proxy that stands on it."""
    if any(name in visitor.headers for name in PROXY_HEADERS):
        return False
    try:
        return bool(visitor.address) and ip_address(str(visitor.address)).is_loopback
    except ValueError:
        return False
