"""Genesys conversations: the quota, the subscription, the events, and how a turn goes on after its link was lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from simulators.wires import CONVERSATIONS, WIRES, Clock, Seen, call, link, see, subscribe, subscription, token
from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count, cut

QUOTA = "/api/v2/ai/models/gpt/quotas"
WIRE = WIRES["genesys-conversations"]
ORDER = TEXTS["order"]
PIECES = [piece.text for piece in cut(ORDER)[0]]


async def answer(sim: Simulator, bearer: str | None = None, **changes: Any) -> Seen:
    """One connection, up to its end mark or its end."""
    async with link(sim, CONVERSATIONS, bearer) as socket:
        await subscribe(socket, **changes)
        return await see(socket, WIRE.is_end)


async def entries(sim: Simulator) -> list[Record]:
    """The entries of the WebSockets, once all have ended."""
    return [record for record in await sim.ended(len(sim.ledger)) if record["path"] == CONVERSATIONS]


def sequences(seen: Seen) -> list[int]:
    return [message["metadata"]["sequence"] for message in seen.messages]


def in_order(messages: list[Any]) -> str:
    """The text as a client puts it together: by sequence, each once."""
    deltas = {message["metadata"]["sequence"]: message["delta"] for message in messages}
    return "".join(deltas[number] for number in sorted(deltas))


# --- the quota


async def test_a_quota_says_how_many_answers_a_model_may_still_give(sim: Simulator) -> None:
    bearer = await token(sim)
    quota = await call(sim, "GET", QUOTA, bearer)
    assert quota.status_code == 200
    assert quota.json() == {"available_slots": 10, "max_concurrent": 10, "model_status": "AVAILABLE"}
    sim.set_faults(["stall-after=1"])
    async with link(sim, CONVERSATIONS, bearer) as socket:
        await subscribe(socket)
        await socket.recv()
        assert (await call(sim, "GET", QUOTA, bearer)).json()["available_slots"] == 9
        assert (await call(sim, "GET", QUOTA.replace("gpt", "other"), bearer)).json()["available_slots"] == 10
    await entries(sim)
    assert (await call(sim, "GET", QUOTA, bearer)).json()["available_slots"] == 10


async def test_a_quota_has_words_and_faults_of_its_own(sim: Simulator) -> None:
    bearer = await token(sim)
    sim.set_faults(["reset-after=1"])
    sim.set_faults(["quota-slots=0", "quota-model-status=DISABLED"])
    quota = (await call(sim, "GET", QUOTA, bearer)).json()
    assert quota == {"available_slots": 0, "max_concurrent": 10, "model_status": "DISABLED"}
    sim.set_faults(["status=503"], connections=2, at="quota")
    assert [(await call(sim, "GET", QUOTA, bearer)).status_code for _ in range(3)] == [503, 503, 200]
    sim.line_up([], ["status=429", "retry-after=3"], at="quota")
    assert (await call(sim, "GET", QUOTA, bearer)).status_code == 200
    refused = await call(sim, "GET", QUOTA, bearer)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert refused.json()["code"] == "too.many.requests.retry.after"
    assert (await answer(sim, bearer)).code == 1006


async def test_who_may_ask_about_a_quota(sim: Simulator) -> None:
    bearer = await token(sim)
    assert (await call(sim, "GET", QUOTA, "s3cret")).status_code == 401
    refused = await call(sim, "GET", QUOTA, await token(sim, "conversations:read"))
    assert (refused.status_code, refused.json()["message"][-7:]) == (403, "ai:read")
    assert (await call(sim, "GET", QUOTA.replace("gpt", "wrong"), bearer)).json()["code"] == "not.found"
    assert (await call(sim, "GET", "/api/v2/ai/models/gpt", bearer)).status_code == 404
    assert (await call(sim, "POST", QUOTA, bearer)).status_code == 405
    assert [record["broken"] != [] for record in sim.ledger if "models" in record["path"]] == [False] * 4 + [True]


async def test_an_answer_without_a_question_about_the_quota_breaks_a_rule(sim: Simulator) -> None:
    bearer = await token(sim)
    await answer(sim, bearer)
    await call(sim, "GET", QUOTA, bearer)
    await answer(sim, bearer)
    assert [record["broken"] for record in await entries(sim)] == [
        ["quota: expected a request about the quota of 'gpt' first, received none"],
        [],
    ]


async def turns(sim: Simulator, bearer: str, *names: str) -> list[bool]:
    """Begin turns, one after the other; gives of each whether it did so without a word about the quota."""
    sim.clear_ledger()
    for name in names:
        await answer(sim, bearer, conversation_context={"conversation_id": "c-1", "turn_id": name})
    return [record["broken"] != [] for record in await entries(sim)]


async def test_an_answer_about_the_quota_does_for_one_turn_and_its_later_connections(sim: Simulator) -> None:
    bearer = await token(sim)
    await call(sim, "GET", QUOTA, bearer)
    assert await turns(sim, bearer, "t-1", "t-1", "t-2") == [False, False, True]
    await call(sim, "GET", QUOTA, bearer)
    await call(sim, "GET", QUOTA, bearer)
    await call(sim, "GET", QUOTA.replace("gpt", "other"), bearer)
    assert await turns(sim, bearer, "t-3", "t-4", "t-5") == [False, False, True]
    await call(sim, "GET", QUOTA, await token(sim, client_id="other"))
    assert await turns(sim, bearer, "t-6") == [True]


async def test_no_answer_about_the_quota_holds_for_ever(sim: Simulator, clock: Clock) -> None:
    bearer = await token(sim)
    await call(sim, "GET", QUOTA, bearer)
    clock.now += 121
    assert await turns(sim, bearer, "t-1") == [True]


async def test_turns_may_share_an_answer_about_the_quota_for_a_while(clock: Clock) -> None:
    async with Simulator(clock=clock, quota_fresh_s=30) as sim:
        bearer = await token(sim)
        await call(sim, "GET", QUOTA, bearer)
        assert await turns(sim, bearer, "t-1", "t-2") == [False, False]
        clock.now += 151
        assert await turns(sim, bearer, "t-3") == [True]


async def test_a_model_without_a_slot_gives_no_answer() -> None:
    async with Simulator(max_concurrent=1) as sim:
        sim.set_faults(["stall-after=1"])
        async with link(sim, CONVERSATIONS) as socket:
            await subscribe(socket)
            await socket.recv()
            assert (await answer(sim)).code == 4429
        await entries(sim)
        assert (await answer(sim)).code is None


# --- the handshake and the subscription


async def test_the_handshake_wants_json_to_be_accepted(sim: Simulator) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, CONVERSATIONS, headers={"accept": "*/*"}):
            pass
    assert refused.value.response.status_code == 406
    assert (await entries(sim))[0]["broken"][0].startswith("request: ")


async def test_every_connection_counts_for_the_limit_of_its_client() -> None:
    async with Simulator(rate_per_minute=1) as sim:
        bearer = await token(sim)
        await answer(sim, bearer)
        with pytest.raises(InvalidStatus) as refused:
            await answer(sim, bearer)
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("message", "rule", "words"),
    [
        ("subscribe", "json", "not valid JSON"),
        ('{"subscriptions":[NaN]}', "json", "NaN"),
        ('{"subscriptions":[]}', "fields", "$.subscriptions"),
        (json.dumps({"subscriptions": subscription()["subscriptions"] * 2}), "fields", "$.subscriptions"),
        (json.dumps({**subscription(), "id": 1}), "fields", "unknown field `id`"),
        (json.dumps(subscription(event_type="ai:chat")), "fields", "event_type"),
        (json.dumps(subscription(model_id="")), "fields", "model_id"),
        (json.dumps(subscription(max_tokens=0)), "fields", "max_tokens"),
        (json.dumps(subscription(max_tokens="5")), "fields", "max_tokens"),
        (json.dumps(subscription(stream_mode="full")), "fields", "stream_mode"),
        (json.dumps(subscription(conversation_context={"conversation_id": "c"})), "fields", "turn_id"),
        (json.dumps(subscription(n=1)), "fields", "unknown field `n`"),
    ],
)
async def test_another_first_message_is_refused(sim: Simulator, message: str, rule: str, words: str) -> None:
    async with link(sim, CONVERSATIONS) as socket:
        await socket.send(message)
        assert (await see(socket)).code == 4400
    (entry,) = await entries(sim)
    assert entry["ended"] == "refused"
    assert entry["broken"][0].startswith(f"{rule}: ")
    assert words in entry["broken"][0]


async def test_a_model_that_does_not_exist(sim: Simulator) -> None:
    assert (await answer(sim, model_id="wrong")).code == 4404
    assert (await entries(sim))[0]["broken"] == []


# --- the events


async def test_the_events_are_those_of_the_wire(sim: Simulator) -> None:
    seen = await answer(sim)
    assert WIRE.text(seen.messages) == ORDER
    assert sequences(seen) == list(range(len(PIECES) + 1))
    *pieces, end = seen.messages
    assert [(piece["event_type"], piece["finish_reason"]) for piece in pieces] == [("ai:chat:completion", "")] * len(
        pieces
    )
    assert (end["delta"], end["finish_reason"]) == ("", "stop")
    for message in seen.messages:
        metadata = message["metadata"]
        assert set(message) == {"event_type", "delta", "finish_reason", "metadata"}
        assert set(metadata) == {"model_id", "conversation_id", "latency_ms", "throughput_tps", "sequence"}
        assert (metadata["model_id"], metadata["conversation_id"]) == ("gpt", "c-1")
        assert metadata["latency_ms"] >= 0


async def test_the_ledger_tells_the_subscription_and_the_token(sim: Simulator) -> None:
    await answer(sim, await token(sim))
    (entry,) = await entries(sim)
    assert entry["frames"][0] == {
        "at_ms": entry["frames"][0]["at_ms"], "sender": "client", "kind": "text", "data": subscription(),
    }  # fmt: skip
    assert entry["headers"]["authorization"] == "Bearer ***"
    assert (entry["token"], entry["turn"], entry["attempt"], entry["completion_tokens"]) == (1, "t-1", 1, count(ORDER))
    assert 0 <= entry["at_ms"] <= entry["frames"][0]["at_ms"]


async def test_max_tokens_bounds_the_answer(sim: Simulator) -> None:
    seen = await answer(sim, max_tokens=3)
    assert WIRE.text(seen.messages) == "".join(PIECES[:3])
    assert seen.messages[-1]["finish_reason"] == "length"
    assert (await entries(sim))[0]["meant"] == "".join(PIECES[:3])


async def test_the_finish_reason_is_another_where_it_is_told_to(sim: Simulator) -> None:
    sim.set_faults(["finish=content_filter"])
    assert (await answer(sim)).messages[-1]["finish_reason"] == "content_filter"


async def test_sequence_numbers_may_be_missing(sim: Simulator) -> None:
    sim.set_faults(["no-sequence", "reorder=5", "duplicates", "gap=3"])
    seen = await answer(sim)
    assert not any("sequence" in message["metadata"] for message in seen.messages)
    assert WIRE.text(seen.messages) == ORDER


async def test_a_number_may_be_missing_of_one_event_only(sim: Simulator) -> None:
    sim.set_faults(["unnumbered=3"])
    seen = await answer(sim)
    assert WIRE.text(seen.messages) == ORDER
    numbers = [message["metadata"].get("sequence") for message in seen.messages]
    assert numbers == [None if place == 3 else place for place in range(len(PIECES) + 1)]


@pytest.mark.parametrize("more", [[], ["finish-with-text"]])
async def test_the_number_may_be_missing_of_the_end_mark_only(sim: Simulator, more: list[str]) -> None:
    sim.set_faults(["unnumbered-end", *more])
    seen = await answer(sim)
    *numbers, last = [message["metadata"].get("sequence") for message in seen.messages]
    assert (numbers, last) == (list(range(len(PIECES) - bool(more))), None)


async def test_duplicates_are_the_same_event_again(sim: Simulator) -> None:
    sim.set_faults(["duplicates"])
    async with link(sim, CONVERSATIONS) as socket:
        await subscribe(socket)
        seen = await see(socket, WIRE.is_end)
    numbers = sequences(seen)
    assert len(numbers) > len(set(numbers))
    assert in_order(seen.messages) == ORDER
    (entry,) = await entries(sim)
    assert (entry["text"], entry["completion_tokens"]) == (ORDER, count(ORDER))
    assert entry["pieces"] > len(PIECES)


@pytest.mark.parametrize("window", [2, 5, 40])
async def test_reordering_stays_within_its_window(sim: Simulator, window: int) -> None:
    sim.set_faults([f"reorder={window}", "closes"])
    async with link(sim, CONVERSATIONS) as socket:
        await subscribe(socket)
        seen = await see(socket)
    numbers = sequences(seen)
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(len(PIECES) + 1))
    assert all(abs(number - place) < window for place, number in enumerate(numbers))
    assert in_order(seen.messages) == ORDER
    (entry,) = await entries(sim)
    assert (entry["text"], entry["reached"], entry["ended"]) == (ORDER, len(ORDER), "completed")


async def test_the_end_mark_is_reordered_too() -> None:
    last = set()
    for seed in range(8):
        async with Simulator(seed=seed) as sim:
            sim.set_faults(["reorder=6", "closes"])
            sim.default_text = "short"
            async with link(sim, CONVERSATIONS) as socket:
                await subscribe(socket)
                last.add(bool((await see(socket)).messages[-1]["finish_reason"]))
    assert last == {True, False}


@pytest.mark.parametrize("early", [1, 3, 1_000])
async def test_the_end_mark_may_overtake_the_last_pieces(sim: Simulator, early: int) -> None:
    sim.set_faults([f"early-end={early}", "closes"])
    async with link(sim, CONVERSATIONS) as socket:
        await subscribe(socket)
        numbers = sequences(await see(socket))
    pieces = list(range(len(PIECES)))
    assert numbers == [*pieces[:-early], len(PIECES), *pieces[-early:]]


async def test_a_gap_is_never_filled(sim: Simulator) -> None:
    sim.set_faults(["gap=4"])
    seen = await answer(sim)
    assert sequences(seen) == [number for number in range(len(PIECES) + 1) if number != 4]
    (entry,) = await entries(sim)
    assert entry["text"] == "".join(PIECES[:4] + PIECES[5:])
    assert entry["reached"] == len("".join(PIECES[:4]))


async def test_noise_is_of_other_types_and_other_conversations(sim: Simulator) -> None:
    sim.set_faults(["metadata"])
    seen = await answer(sim)
    assert {message["event_type"] for message in seen.messages} > {"ai:chat:completion"}
    assert "c-1-2" in {message.get("metadata", {}).get("conversation_id") for message in seen.messages}
    assert WIRE.text(seen.messages) == ORDER


# --- a turn goes on


@pytest.mark.parametrize(
    "words", [["reset-after=6"], ["close-frame=1001/6"], ["close-after=6"], ["half-event-after=6"]]
)
async def test_a_turn_is_replayed_from_the_start(sim: Simulator, words: list[str]) -> None:
    sim.set_faults(words)
    lost, again = await answer(sim), await answer(sim)
    assert (sequences(lost), sequences(again)) == (list(range(6)), list(range(len(PIECES) + 1)))
    assert in_order(lost.messages + again.messages) == ORDER
    first, second = await entries(sim)
    assert (first["attempt"], second["attempt"], first["turn"], second["turn"]) == (1, 2, "t-1", "t-1")
    assert (first["text"], second["text"]) == ("".join(PIECES[:6]), ORDER)
    assert first["at_ms"] <= second["at_ms"]


@pytest.mark.parametrize("numbered", [True, False])
async def test_a_turn_continues(sim: Simulator, numbered: bool) -> None:  # noqa: FBT001 - a case
    more = [] if numbered else ["no-sequence"]
    sim.line_up(["reset-after=6", "replay=continues", *more], ["close-frame=1000/4"])
    parts = [await answer(sim) for _ in range(3)]
    assert [WIRE.text(part.messages) for part in parts[:2]] == ["".join(PIECES[:6]), "".join(PIECES[6:10])]
    assert "".join(WIRE.text(part.messages) for part in parts) == ORDER
    if numbered:
        assert sequences(parts[1]) == [6, 7, 8, 9]
    assert [entry["text"] for entry in await entries(sim)] == [WIRE.text(part.messages) for part in parts]
    assert {entry["reached"] for entry in await entries(sim)} == {len(ORDER)}


async def test_a_turn_that_continues_does_not_leave_out_what_was_reordered(sim: Simulator) -> None:
    sim.set_faults(["close-frame=1001/7", "reorder=5", "replay=continues"])
    lost, rest = await answer(sim), await answer(sim)
    assert in_order(lost.messages + rest.messages) == ORDER


async def test_a_turn_is_not_gone_on_with(sim: Simulator) -> None:
    sim.set_faults(["reset-after=6", "replay=none"])
    await answer(sim)
    async with link(sim, CONVERSATIONS) as socket:
        await subscribe(socket)
        await (await socket.ping())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await socket.recv()
    entry = (await entries(sim))[1]
    assert (entry["ended"], entry["text"], entry["meant"]) == ("client_gone", "", ORDER)
    assert entry["reached"] == len("".join(PIECES[:6]))


async def test_a_turn_is_replayed_with_another_text(sim: Simulator) -> None:
    sim.set_faults(["reset-after=6", "replay=other"])
    await answer(sim)
    again = WIRE.text((await answer(sim)).messages)
    assert again == (await entries(sim))[1]["meant"]
    assert not again.startswith("".join(PIECES[:6]))


async def test_characters_that_are_cut_in_two_are_so_on_later_connections_too(sim: Simulator) -> None:
    sim.default_text = "unicode"
    sim.set_faults(["reset-after=6", "lone-surrogates"])
    lost, again = await answer(sim), await answer(sim)
    pieces = [WIRE.text([message]) for message in again.messages]
    assert any("\ud800" <= piece[-1:] <= "\udbff" for piece in pieces)
    assert WIRE.text(again.messages).encode("utf-16", "surrogatepass").decode("utf-16") == TEXTS["unicode"]
    assert WIRE.text(again.messages[:6]) == WIRE.text(lost.messages)


async def test_another_turn_is_another_answer(sim: Simulator) -> None:
    sim.set_faults(["reset-after=6", "replay=continues"])
    await answer(sim)
    other = await answer(sim, conversation_context={"conversation_id": "c-1", "turn_id": "t-2"})
    assert WIRE.text(other.messages) == ORDER
    assert (await entries(sim))[1]["attempt"] == 1


async def test_the_same_turn_with_another_subscription_is_refused(sim: Simulator) -> None:
    sim.set_faults(["reset-after=6"])
    await answer(sim)
    assert (await answer(sim, max_tokens=5)).code == 4400
    assert "fields: expected the subscription that the turn began with" in (await entries(sim))[1]["broken"]


async def test_a_token_that_expired_meanwhile_is_refused_at_the_reconnect(sim: Simulator, clock: Clock) -> None:
    bearer = await token(sim)
    sim.set_faults(["reset-after=6"])
    await answer(sim, bearer)
    clock.now += 86_399
    with pytest.raises(InvalidStatus) as refused:
        await answer(sim, bearer)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["code"] == "credentials.expired"
    assert WIRE.text((await answer(sim)).messages) == ORDER
    assert [(entry["token"], entry["attempt"], entry["ended"]) for entry in await entries(sim)] == [
        (1, 1, "fault:reset-after"),
        (1, None, "refused"),
        (2, 2, "completed"),
    ]


async def test_the_newest_turns_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.simulators.genesys_conversations._MAX_TURNS", 1)
    async with Simulator() as sim:
        await answer(sim)
        await answer(sim, conversation_context={"conversation_id": "c-1", "turn_id": "t-2"})
        await answer(sim)
        assert [entry["attempt"] for entry in await entries(sim)] == [1, 1, 1]
