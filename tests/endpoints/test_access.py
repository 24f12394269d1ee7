"""Keys and tickets: who is let in, by what, for what, and for how long."""

from __future__ import annotations

import hashlib

import pytest
from starlette.requests import Request

from trunkline.core.errors import AccessDenied, Overloaded
from trunkline.endpoints import access
from trunkline.endpoints.access import Access, Keys, Tickets
from trunkline.endpoints.settings import KeySettings, ServerSettings

TURN, OTHER = "turn_" + "0" * 32, "turn_" + "1" * 32
KEY = KeySettings(name="web.app", sha256=hashlib.sha256(b"tk_secret").hexdigest())


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "query_string": query.encode()})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tickets(clock):
    return Tickets(ServerSettings(ticket_s=60, follow_s=600), clock)


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer tk_secret"}, {"authorization": "bearer  tk_secret"}, {"x_key": "tk_secret"},
     {"api_key": "tk_secret"}],
)  # fmt: skip
def test_a_key_comes_in_any_of_its_headers(headers):
    assert Keys([KEY], "X-Key").principal(request(**headers)) == "web.app"


@pytest.mark.parametrize(
    ("headers", "words"),
    [({}, "No credential"), ({"x_key": "tk_other"}, "does not know"), ({"authorization": "Basic eA=="}, "No cred")],
)
def test_without_a_known_key_nobody_is_let_in(headers, words):
    with pytest.raises(AccessDenied, match=words):
        Keys([KEY], "X-Key").principal(request(**headers))


def test_without_keys_everybody_is_local():
    assert Keys(None).principal(request()) == "local"


def test_a_ticket_starts_one_turn_and_then_follows_it(tickets, clock):
    ticket = tickets.issue("web.app")
    caller = tickets.redeem(ticket)
    assert (caller.principal, caller.only_turn) == ("web.app", None)
    tickets.bind(caller, TURN)
    clock.now += 599
    again = tickets.redeem(ticket)
    assert (again.principal, again.only_turn) == ("web.app", TURN)
    clock.now += 2
    with pytest.raises(AccessDenied, match="was used"):
        tickets.redeem(ticket)


def test_a_ticket_that_started_nothing_is_used_up(tickets):
    ticket = tickets.issue("web.app")
    tickets.redeem(ticket)
    with pytest.raises(AccessDenied, match="was used"):
        tickets.redeem(ticket)


def test_a_ticket_expires_unused(tickets, clock):
    ticket = tickets.issue("web.app")
    clock.now += 61.5
    with pytest.raises(AccessDenied, match="within 60 s"):
        tickets.redeem(ticket)


def test_a_ticket_made_for_a_turn_is_good_for_that_one(tickets, clock):
    ticket = tickets.issue("web.app", TURN)
    desk = Access(Keys([KEY]), tickets)
    for _ in range(3):
        assert desk.follower(request(f"ticket={ticket}"), TURN).only_turn == TURN
    with pytest.raises(AccessDenied, match="another turn"):
        desk.follower(request(f"ticket={ticket}"), OTHER)
    clock.now += 601
    with pytest.raises(AccessDenied, match="expired"):
        desk.follower(request(f"ticket={ticket}"), TURN)


def test_following_binds_a_fresh_ticket(tickets):
    ticket = tickets.issue("web.app")
    desk = Access(Keys([KEY]), tickets)
    assert desk.follower(request(f"ticket={ticket}"), TURN).principal == "web.app"
    assert desk.follower(request(f"ticket={ticket}"), TURN).only_turn == TURN
    with pytest.raises(AccessDenied, match="another turn"):
        desk.follower(request(f"ticket={ticket}"), OTHER)


def test_a_key_in_a_header_wins_over_a_ticket(tickets):
    caller = Access(Keys([KEY]), tickets).caller(request("ticket=nonsense", authorization="Bearer tk_secret"))
    assert (caller.principal, caller.only_turn) == ("web.app", None)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2] + "AA", lambda t: "ticket_", lambda t: "é", lambda t: t[:20], str.lower]
)
def test_a_forged_ticket_is_refused(tickets, change):
    with pytest.raises(AccessDenied, match="does not know"):
        tickets.redeem(change(tickets.issue("web.app", TURN)))


def test_another_relays_ticket_is_refused(tickets, clock):
    with pytest.raises(AccessDenied):
        Tickets(ServerSettings(), clock).redeem(tickets.issue("web.app"))


def test_used_tickets_are_forgotten_when_they_could_not_be_used_anyway(tickets, clock, monkeypatch):
    monkeypatch.setattr(access, "MAX_SPENT", 2)
    for _ in range(2):
        tickets.redeem(tickets.issue("web.app"))
    with pytest.raises(Overloaded):
        tickets.redeem(tickets.issue("web.app"))
    clock.now += 62
    tickets.redeem(tickets.issue("web.app"))


def test_room_is_made_by_tickets_that_follow_and_could_start_nothing_any_more(tickets, clock, monkeypatch):
    monkeypatch.setattr(access, "MAX_SPENT", 2)
    old = [tickets.issue("web.app") for _ in range(2)]
    for ticket in old:
        tickets.bind(tickets.redeem(ticket), TURN)
    with pytest.raises(Overloaded):
        tickets.redeem(tickets.issue("web.app"))
    clock.now += 61
    tickets.redeem(tickets.issue("web.app"))
    with pytest.raises(AccessDenied, match="expired"):
        tickets.redeem(old[0])


def test_another_scheme_of_authorization_is_no_key(tickets):
    desk = Access(Keys([KEY]), tickets)
    basic = request(f"ticket={tickets.issue('web.app')}", authorization="Basic eDp5")
    assert desk.caller(basic).principal == "web.app"
