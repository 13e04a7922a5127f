"""Tokens: who gets one, whom it stands for, and what happens when it ends."""

import base64
import json
import time
from typing import Any

import httpx
import pytest
import socketio

from queue_ext.errors import NotAuthenticated
from queue_ext.identity import owner_of
from queue_ext.tokens import TokenRefused, Tokens, bearer

from .support import served, until
from .test_namespace import ANN, Browser, run

TOKENS = Tokens(b"a key")


def test_a_token_says_what_it_was_made_of() -> None:
    later = float(int(time.time()) + 60)
    assert TOKENS.read(TOKENS.make("ann", True, later)) == ("ann", True, later)
    assert TOKENS.read(TOKENS.make("安", False, later)) == ("安", False, later)


def test_what_we_did_not_sign_or_what_has_expired_is_refused() -> None:
    good = TOKENS.make("ann", True, time.time() + 60)
    forged = base64.urlsafe_b64encode(json.dumps(["root", True, time.time() + 60]).encode()).decode().rstrip("=")
    signed_nonsense = "bm8." + TOKENS._mac("bm8")
    for token in ("", ".", "x", good[:-1], good + "0", f"{forged}.{good.partition('.')[2]}", "ä.ö", signed_nonsense):
        with pytest.raises(TokenRefused):
            TOKENS.read(token)
    with pytest.raises(TokenRefused, match="expired"):
        TOKENS.read(TOKENS.make("ann", True, time.time() - 1))
    with pytest.raises(TokenRefused):
        Tokens(b"another key").read(good)


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer ", None), ("", None)],
)
def test_a_token_is_found_in_its_header(header: str, token: str | None) -> None:
    assert bearer(header) == token


def test_a_token_stands_for_the_client_it_was_made_for(tmp_path: Any) -> None:
    with served(tmp_path) as found:
        answer = httpx.post(f"{found.url}/tokens", headers={"X-Queue-Client": ANN})
        assert answer.status_code == 201 and ANN not in answer.text
        token = answer.json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{found.url}/me", headers=headers).json()["owner"] == owner_of(ANN) == answer.json()["owner"]
        again = httpx.post(f"{found.url}/tokens", headers=headers)
        assert again.status_code == 401 and "not made from a token" in again.json()["detail"]
        nobody = httpx.post(f"{found.url}/tokens")
        assert nobody.status_code == 401 and "X-Queue-Client" in nobody.json()["detail"]
        wrong = httpx.get(f"{found.url}/me", headers={"Authorization": "Bearer x.y"})
        assert wrong.status_code == 401 and wrong.json()["code"] == "token_refused"
        assert wrong.headers["www-authenticate"].startswith("Bearer")  # no browser asks its user for a password


def test_a_token_of_a_login_is_that_user_and_an_admin_where_he_is_one(tmp_path: Any) -> None:
    def login(visitor: Any) -> str:
        if visitor.headers.get("authorization") != "Basic " + base64.b64encode(b"ann:pw").decode():
            raise NotAuthenticated(reason="log in first")
        return "ann"

    with served(tmp_path, login=(login, lambda: True), admins=("ann",)) as found:
        assert httpx.post(f"{found.url}/tokens", headers={"X-Queue-Client": ANN}).status_code == 401
        guest = found.app.identity.tokens.make(owner_of(ANN), False, time.time() + 60)  # of before there was a login
        refused = httpx.get(f"{found.url}/me", headers={"Authorization": f"Bearer {guest}"})
        assert refused.status_code == 401 and "log in" in refused.json()["detail"]
        token = httpx.post(f"{found.url}/tokens", auth=("ann", "pw")).json()["token"]
        me = httpx.get(f"{found.url}/me", headers={"Authorization": f"Bearer {token}"}).json()
        assert (me["owner"], me["admin"]) == ("ann", True)
    with served(tmp_path, login=(login, lambda: True)) as found:  # the key is kept in the database, rights are not
        assert not httpx.get(f"{found.url}/me", headers={"Authorization": f"Bearer {token}"}).json()["admin"]


def test_a_socket_opened_with_a_token_ends_with_it(tmp_path: Any) -> None:
    async def scenario(found: Any) -> None:
        token = httpx.post(f"{found.url}/tokens", headers={"X-Queue-Client": ANN}).json()["token"]
        ann = Browser(found)
        await ann.connect(auth={"token": token})
        assert (await ann.asked("hello"))["owner"] == owner_of(ANN)
        await ann.until(lambda b: not b.sio.connected)
        late, why = Browser(found), []
        late.sio.on("connect_error", why.append, namespace="/queue")
        with pytest.raises(socketio.exceptions.ConnectionError):
            await late.connect(auth={"token": token})
        assert why[0]["data"]["code"] == "token_refused" and "expired" in why[0]["message"]
        answer = httpx.get(f"{found.url}/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401 and "expired" in answer.json()["detail"]

    with served(tmp_path, token_ttl_s=2) as found:
        run(scenario(found))
        until(lambda: not found.app.namespace._clients)
