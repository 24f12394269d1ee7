"""Who asks: keys for machines, tickets for browsers, which cannot set headers on an EventSource or a WebSocket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from trunkline.core.errors import AccessDenied, Overloaded
from trunkline.core.ids import is_turn_id
from trunkline.endpoints.settings import KeySettings, ServerSettings
from trunkline.stores.archive import Claim

LOCAL: Final = "local"
TICKET_PREFIX: Final = "ticket_"
TICKET: Final = "ticket"
MAX_SPENT: Final = 100_000  # bounds the memory of tickets that were used
_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what the credential is good for: everything, or following the one turn `only_turn`.

    `nonce` is that of a ticket which was just used for the first time: `Tickets.bind` ties it to the turn it started,
    and to what it asked then: `about`.
    """

    principal: str
    only_turn: str | None = None
    nonce: str = ""
    about: bytes = b""


class Keys:
    """Tells who a key stands for. With None in place of keys (`--insecure`) everybody is `local`."""

    def __init__(self, keys: Iterable[KeySettings] | None, header: str = "X-API-Key") -> None:
        # A key is found by its digest: comparing digests tells an attacker nothing about the key.
        self._names = None if keys is None else {key.sha256: key.name for key in keys}
        self._header = header.lower()

    def given(self, connection: HTTPConnection) -> str:
        """Return the key that a request came with, or nothing."""
        headers = connection.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        return headers.get(self._header) or headers.get("api-key", "")

    def principal(self, connection: HTTPConnection) -> str:
        """Return the principal of a request by its headers. Raises `AccessDenied`."""
        if self._names is None:
            return LOCAL
        key = self.given(connection)
        if not key:
            words = f"No credential came; send `Authorization: Bearer KEY` or `{self._header}: KEY`."
            raise AccessDenied(words)
        name = self._names.get(hashlib.sha256(key.encode()).hexdigest())
        if name is None:
            raise AccessDenied("The relay does not know this key.")
        return name


class Tickets:
    """Makes and takes tickets: signed, so that one which was never used costs no memory.

    A ticket without a turn starts at most one turn, or opens one WebSocket. An EventSource repeats its address after
    every drop, so the ticket stays good for following the turn it started, and nothing else, for `follow_s` seconds;
    so does a ticket that was made for one turn.
    """

    def __init__(
        self,
        settings: ServerSettings,
        wall: Callable[[], float],
        key: bytes | None = None,
        *,
        spent: Iterable[Claim] = (),
        record: Callable[[Claim], None] | None = None,
    ) -> None:
        """Take the clock in Unix seconds, and the key to sign with; without one tickets die with this object.

        `spent` are those that were used before; `record` is told of more, so that they may outlive the process.
        """
        self._ticket_s = settings.ticket_s
        self._follow_s = settings.follow_s
        self._wall = wall
        self._key = key or secrets.token_bytes(32)
        self._record = record
        self._spent: OrderedDict[str, tuple[float, str, bytes]] = OrderedDict(  # by nonce: until when, turn, about
            (claim.key, (claim.until_ms / 1_000, claim.turn, claim.about)) for claim in spent
        )

    def issue(self, principal: str, turn: str = "") -> str:
        """Make a ticket for a principal, for one turn of theirs where `turn` is given."""
        text = f"{int(self._wall()):x}.{secrets.token_hex(8)}.{turn}.{principal}".encode()
        return TICKET_PREFIX + base64.urlsafe_b64encode(self._mac(text) + text).rstrip(b"=").decode()

    def redeem(self, ticket: str) -> Caller:
        """Take a ticket; the first use of one without a turn is its only one. Raises `AccessDenied`, `Overloaded`."""
        issued, nonce, turn, principal = self._read(ticket)
        now = self._wall()
        if turn:
            if now > issued + self._follow_s:
                raise AccessDenied("This ticket has expired.")
            return Caller(principal, turn)
        if nonce in self._spent:
            until, bound, about = self._spent[nonce]
            if not bound or now > until:
                raise AccessDenied("This ticket was used; each is good for one turn or one WebSocket.")
            return Caller(principal, bound, about=about)
        if now > issued + self._ticket_s:
            raise AccessDenied(f"This ticket has expired; it must be used within {self._ticket_s:g} s.")
        self._spend(nonce, issued + self._ticket_s + 1)
        return Caller(principal, None, nonce)

    def bind(self, caller: Caller, turn: str, about: bytes = b"") -> None:
        """Let the ticket that a caller came with follow the turn which it started."""
        if caller.nonce and caller.nonce in self._spent:
            self._keep(caller.nonce, self._wall() + self._follow_s, turn, about)

    def _keep(self, nonce: str, until: float, turn: str = "", about: bytes = b"") -> None:
        self._spent[nonce] = (until, turn, about)
        self._spent.move_to_end(nonce)
        if self._record is not None:
            self._record(Claim(TICKET, nonce, turn, int(until * 1_000), about))

    def _spend(self, nonce: str, expires: float) -> None:
        """Remember that a ticket was used, for as long as it could be used again."""
        now = self._wall()
        if len(self._spent) >= MAX_SPENT:
            for old in [old for old, (until, *_) in self._spent.items() if until < now]:
                del self._spent[old]
        if len(self._spent) >= MAX_SPENT:
            # One that follows a turn may be let go, once it is too old to start another.
            latest = now + self._follow_s - self._ticket_s
            oldest = next((old for old, (until, turn, _) in self._spent.items() if turn and until < latest), None)
            if oldest is None:
                raise Overloaded("too_many_tickets", "Too many tickets were used; try again in a minute.")
            del self._spent[oldest]
        self._keep(nonce, expires)

    def _read(self, ticket: str) -> tuple[float, str, str, str]:
        try:
            raw = base64.urlsafe_b64decode(ticket.removeprefix(TICKET_PREFIX) + "==")
        except ValueError:
            raw = b""
        mac, text = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(text)):
            raise AccessDenied("The relay does not know this ticket; it may have been made before a restart.")
        issued, nonce, turn, principal = text.decode().split(".", 3)
        return int(issued, 16), nonce, turn, principal

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")[:_MAC_BYTES]


class Access:
    """Lets callers in by key, or by ticket on the routes that browsers cannot send headers to."""

    def __init__(self, keys: Keys, tickets: Tickets) -> None:
        self.keys = keys
        self.tickets = tickets

    def principal(self, connection: HTTPConnection) -> str:
        """Return who asks, by key. Raises `AccessDenied`."""
        return self.keys.principal(connection)

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return who asks, by ticket where the address holds one, else by key. Raises `AccessDenied`."""
        ticket = connection.query_params.get("ticket")
        if ticket and not self.keys.given(connection):
            return self.tickets.redeem(ticket)
        return Caller(self.keys.principal(connection))

    def follower(self, connection: HTTPConnection, turn: str) -> Caller:
        """Return who asks to follow a turn. Raises `AccessDenied`, also where the ticket is for another turn."""
        caller = self.caller(connection)
        if caller.only_turn is not None and caller.only_turn != turn:
            raise AccessDenied("This ticket is for another turn.")
        if caller.nonce and is_turn_id(turn):
            self.tickets.bind(caller, turn)
        return caller


def is_loopback(host: str) -> bool:
    """Tell whether an address or a name is that of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
