"""Who is asking: client ids, logins, admins, and what each may see."""

import pytest

from queue_ext.errors import InvalidRequest, JobNotFound, NotAllowed, NotAuthenticated
from queue_ext.identity import (
    ANONYMOUS,
    COOKIE,
    HEADER,
    PROXY_HEADERS,
    Identity,
    Owner,
    Visitor,
    new_client_id,
    owner_of,
)
from queue_ext.settings import Settings

SECRET = "s3cret-client-id-of-mine"
OTHERS = {"id": "job", "owner": "bob"}


def visitor(client_id: str | None = None, address: str | None = "10.0.0.9", **headers: str) -> Visitor:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Visitor(named, {}, address, client_id)


def identity(**values: object) -> Identity:
    return Identity(Settings(**values))


def test_a_client_id_names_an_owner_and_is_not_told() -> None:
    made = identity().owner(visitor(SECRET))
    assert made.known and SECRET not in made.id and made.id == owner_of(SECRET) != owner_of(SECRET + "x")


def test_header_cookie_and_handshake_name_the_same_owner() -> None:
    by_header = identity().owner(Visitor({HEADER: SECRET}, {}))
    by_cookie = identity().owner(Visitor({}, {COOKIE: SECRET}))
    assert by_header == by_cookie == identity().owner(Visitor({}, {}, None, SECRET))


def test_without_one_somebody_is_anonymous() -> None:
    made = identity().owner(visitor())
    assert made.id == ANONYMOUS and not made.known


@pytest.mark.parametrize(
    "client_id", ["short", "x" * 15, "x" * 129, "x" * 15 + " ", "x" * 20 + "\n", "ü" * 20, "x" * 20 + "\0", "猫" * 16]
)
def test_a_client_id_of_the_wrong_form_is_refused_without_repeating_it(client_id: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        identity().owner(visitor(client_id))
    assert client_id not in str(refused.value)


@pytest.mark.parametrize(
    "client_id", ["x" * 16, "x" * 128, "!~" * 10, new_client_id()], ids=["sixteen", "most", "signs", "made"]
)
def test_a_client_id_of_16_to_128_characters_is_taken(client_id: str) -> None:
    assert identity().owner(visitor(client_id)).known


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_whoever_sits_at_this_machine_is_an_admin(address: str) -> None:
    assert identity().owner(visitor(address=address)).admin


@pytest.mark.parametrize(
    "address", ["10.0.0.9", "192.168.1.1", "::2", "", None, "testclient", "127.0.0.1.evil.example"]
)
def test_nobody_else_is(address: str | None) -> None:
    assert not identity().owner(visitor(address=address)).admin


@pytest.mark.parametrize("header", PROXY_HEADERS)
def test_who_comes_through_a_proxy_of_this_machine_is_not(header: str) -> None:
    assert not identity().owner(Visitor({header: "127.0.0.1"}, {}, "127.0.0.1")).admin


def test_a_login_decides_and_admins_are_named() -> None:
    made = Identity(Settings(admins=("root",)), lambda who: who.headers.get("user"))
    assert made.owner(Visitor({"user": "root"}, {}, "10.0.0.9")) == Owner("root", True)
    assert made.owner(Visitor({"user": "ann"}, {}, "127.0.0.1")) == Owner("ann", False)
    assert made.owner(Visitor({"user": "ann", HEADER: SECRET}, {}, None)).id == "ann"


def test_a_login_that_refuses_is_heard() -> None:
    def refuse(_who: Visitor) -> str:
        raise NotAuthenticated(reason="wrong password")

    with pytest.raises(NotAuthenticated, match="wrong password"):
        Identity(Settings(), refuse).owner(visitor(SECRET))


def test_visibility_follows_the_login_unless_it_is_set() -> None:
    assert Identity(Settings()).shared
    assert not Identity(Settings(), login=lambda: True).shared
    assert Identity(Settings(visibility="shared"), login=lambda: True).shared
    assert not Identity(Settings(visibility="private")).shared


def test_in_private_others_jobs_do_not_exist_except_for_admins() -> None:
    private, ann, admin = identity(visibility="private"), Owner("ann"), Owner("root", True)
    assert not private.sees(ann, OTHERS) and private.viewer(ann) == "ann"
    with pytest.raises(JobNotFound):
        private.require_sight(ann, OTHERS)
    with pytest.raises(NotAllowed, match="admins only"):
        private.require_admin(ann, "Pausing a queue")
    private.require_sight(Owner("bob"), OTHERS)
    private.require_sight(admin, OTHERS), private.require_admin(admin, "Pausing a queue")
    assert private.viewer(admin) is None


def test_in_shared_everybody_sees_and_manages_all() -> None:
    shared = identity(visibility="shared")
    shared.require_sight(Owner("ann"), OTHERS), shared.require_admin(Owner("ann"), "Pausing a queue")
    assert shared.viewer(Owner("ann")) is None
