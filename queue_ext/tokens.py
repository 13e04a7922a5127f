"""Tokens that stand for an owner until they expire: what a page of another site holds instead of a cookie."""

import base64
import binascii
import hashlib
import hmac
import json
import time

from .errors import NotAuthenticated


class TokenRefused(NotAuthenticated):
    """{reason}"""


class Tokens:
    """Makes and reads tokens under one key. A token is a name, whether it is a login, and a time, all signed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, owner: str, login: bool, expires: float) -> str:
        """A token good until ``expires`` (seconds since the epoch)."""
        said = base64.urlsafe_b64encode(json.dumps([owner, login, int(expires)]).encode()).decode().rstrip("=")
        return f"{said}.{self._mac(said)}"

    def read(self, token: str) -> tuple[str, bool, float]:
        """Owner, whether that is a login, and the moment it expires. Raises TokenRefused."""
        said, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(self._mac(said), mac):
            raise TokenRefused(reason="This token is not one of ours; get another from POST /v1/tokens.")
        try:
            owner, login, expires = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        except (binascii.Error, ValueError) as error:  # signed by us, so this is another version's
            raise TokenRefused(reason="This token is of another version; get another from POST /v1/tokens.") from error
        if expires <= time.time():
            raise TokenRefused(reason="The token has expired; get another from POST /v1/tokens.")
        return owner, login, float(expires)

    def _mac(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()


def bearer(header: str) -> str | None:
    """The token of an ``Authorization: Bearer`` header."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None
