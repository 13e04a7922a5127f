"""Who is logged in at the host: Gradio's login by its cookie, ``--api-auth`` by HTTP Basic."""

import base64
import binascii
import secrets
from typing import Any

from ..errors import NotAuthenticated
from ..identity import Visitor
from . import host

COOKIES = ("access-token", "access-token-unsecure")


class Login:
    """The login of one running page; "Reload UI" makes a new page, and with it a new one of these.

    ``app`` is the host's application: ``app.auth`` its users or None, ``app.tokens`` who holds which cookie.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def required(self) -> bool:
        """Whether the host asks anybody for a login."""
        return self._page_login() or bool(host.api_users())

    def user(self, visitor: Visitor) -> str | None:
        """The user's name; None where the host asks for no login. Raises NotAuthenticated."""
        if not self.required():
            return None
        name = self._by_cookie(visitor) or self._by_password(visitor)
        if name is None:
            raise NotAuthenticated(reason=self._reason(visitor))
        return name

    def _page_login(self) -> bool:
        app = self._app
        return getattr(app, "auth", None) is not None or getattr(app, "auth_dependency", None) is not None

    def _by_cookie(self, visitor: Visitor) -> str | None:
        if not self._page_login():
            return None
        suffix = getattr(self._app, "cookie_id", None)
        for name in COOKIES:
            token = visitor.cookies.get(f"{name}-{suffix}" if suffix else name)
            # A token is 128 random bits: looking it up tells nothing that helps to guess one.
            if token and (user := self._app.tokens.get(token)) is not None:
                return str(user)
        return None

    @staticmethod
    def _by_password(visitor: Visitor) -> str | None:
        given = basic(visitor.headers.get("authorization", ""))
        if given is None:
            return None
        user, password = given
        users = host.api_users()
        # An unknown user takes as long as a wrong password.
        matches = secrets.compare_digest(users.get(user, secrets.token_hex()).encode(), password.encode())
        return user if matches and user in users else None

    def _reason(self, visitor: Visitor) -> str:
        if visitor.headers.get("authorization"):
            return "The user name or the password is wrong."
        ways = ["log in at the WebUI's page"] if self._page_login() else []
        ways += ["send user and password of --api-auth (HTTP Basic)"] if host.api_users() else []
        return f"This WebUI asks for a login: {' or '.join(ways)}."


def basic(header: str) -> tuple[str, str] | None:
    """User and password of an ``Authorization: Basic`` header."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None
