"""What happens in a round, drawn by lot from its seed: turns, their readers, visits to old turns, and the kills."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from kills.asking import KEYED, WAYS
from kills.readers import FOLLOW, SWITCHED

PLAIN_TEXTS: Final = ("order", "unicode", "markdown", "french", "frames")
SCREENED_TEXTS: Final = ("cards", "german", "spanish")
# What could be taken for the wire's own. No CR: `/stream` cannot tell it from LF, and readers change to it and from it.
FRAMES: Final = (
    "Line feed next:\nA blank line next:\n\ndata: this looks like data\nid: 7\nevent: ended\nretry: 1\n"
    ": this looks like a comment\ndata: [DONE]\n\n\ndata:no space\n\nevent: error\n\nid\ndata\n\n \n\t\n"
    'A tab\tand two trailing spaces  \n{"type":"ended","outcome":"completed"}\n\nThe end, without a line end'
)
LIFE_S: Final = 1.3
"""About how long the turns of a round last, from the first start to the last end."""

CANCELLED_SHARE: Final = 0.1
FORGOTTEN: Final = 2
"""So many old turns are erased in each round."""

WHILE_STREAMING: Final = "while turns stream"
JUST_ANSWERED: Final = "right after a turn is named"
JUST_SPOKEN: Final = "right after a turn's first text"
WHILE_STARTING: Final = "while it starts"
JUST_READY: Final = "right after it is ready"


class ReaderPlan(NamedTuple):
    """A reader that joins a turn so long after it was named."""

    forms: tuple[str, ...]
    joins_after_s: float
    eager: bool
    stalls_after: int | None


class StreamPlan(NamedTuple):
    """A turn: how it is asked for, what the platform says and how fast, when it begins, and who reads it."""

    way: str
    keyed: bool
    text: str
    screened: bool
    tokens: int
    interval_ms: float
    begins_at_s: float
    cancelled_after_s: float | None
    first: ReaderPlan
    others: tuple[ReaderPlan, ...]

    @property
    def directives(self) -> str:
        """What the prompt asks of the simulator."""
        words = [f"sim:text={self.text}", f"sim:interval-ms={self.interval_ms:g}"]
        return ";".join([*words, f"sim:tokens={self.tokens}"] if self.tokens else words)


class KillPlan(NamedTuple):
    """A kill: at which kind of moment, and where in it, from 0 to 1."""

    moment: str
    where: float


class VisitPlan(NamedTuple):
    """A reader of a turn that ended long ago: of which one and from where, both from 0 to 1."""

    which: float
    start: float
    form: str
    begins_at_s: float


class ForgetPlan(NamedTuple):
    """An old turn to be erased: which one, from 0 to 1, and when."""

    which: float
    at_s: float


class RoundPlan(NamedTuple):
    """A round."""

    streams: tuple[StreamPlan, ...]
    visits: tuple[VisitPlan, ...]
    forgets: tuple[ForgetPlan, ...]
    kills: tuple[KillPlan, ...]


def draw(seed: int, number: int, streams: int) -> RoundPlan:
    """Draw a round; the same seed and number are the same round."""
    dice = Random(f"{seed}:{number}")
    turns = [_stream(dice, number, place) for place in range(streams)]
    visits = [
        VisitPlan(dice.random(), dice.choice((0.0, dice.random())), dice.choice(list(FOLLOW)), dice.random() * LIFE_S)
        for _ in range(max(2, streams // 4))
    ]
    forgets = [ForgetPlan(dice.random(), dice.random() * LIFE_S) for _ in range(FORGOTTEN)]
    return RoundPlan(tuple(turns), tuple(visits), tuple(forgets), _kills(dice))


def _kills(dice: Random) -> tuple[KillPlan, ...]:
    first = dice.choices((WHILE_STREAMING, JUST_ANSWERED, JUST_SPOKEN), (6, 1, 3))[0]
    kills = [KillPlan(first, dice.random())]
    while len(kills) < 3 and dice.random() < 0.25:
        kills.append(KillPlan(dice.choice((WHILE_STARTING, JUST_READY)), dice.random()))
    return tuple(kills)


def _stream(dice: Random, number: int, place: int) -> StreamPlan:
    way = list(WAYS)[place % len(WAYS)]
    keyed = way in KEYED and dice.random() < 0.5
    if place == 0 and number % 4 == 0:  # more than the kernel buffers for a reader that takes nothing
        stalled = ReaderPlan((dice.choice(SWITCHED), "events"), 0, eager=False, stalls_after=3)
        first = ReaderPlan(("events",), 0, eager=False, stalls_after=None)
        return StreamPlan("create", keyed, "order", screened=False, tokens=3_000, interval_ms=0.1, begins_at_s=0,
                          cancelled_after_s=None, first=first, others=(stalled,))  # fmt: skip
    screened = dice.random() < 0.4
    text = dice.choice(SCREENED_TEXTS if screened else PLAIN_TEXTS)
    tokens = 0 if screened else dice.randint(5, 90)
    interval_ms = dice.uniform(2, 4) if screened else dice.uniform(8, 12)
    first = _reader(dice, together=way != "create")
    others = tuple(_reader(dice) for _ in range(dice.choice((0, 0, 1, 1, 2, 3))))
    cancelled_after_s = dice.random() * LIFE_S if dice.random() < CANCELLED_SHARE else None
    begins_at_s = dice.uniform(0, 0.3)
    return StreamPlan(way, keyed, text, screened, tokens, interval_ms, begins_at_s, cancelled_after_s, first, others)


def _reader(dice: Random, *, together: bool = False) -> ReaderPlan:
    """Draw a reader; one that reads from the start of its turn can change the endpoint, but not to sentences."""
    if not together and dice.random() < 0.2:
        forms: tuple[str, ...] = ("sentences",)
    else:
        forms = tuple(dice.choice(SWITCHED) for _ in range(dice.choice((1, 2, 4))))
    stalls_after = dice.randint(1, 40) if not together and dice.random() < 0.15 else None
    return ReaderPlan(forms, dice.choice((0, dice.random())), dice.random() < 0.4, stalls_after)
