"""Which upstream a request goes to, with which model, and what is refused before a turn exists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from trunkline.admission import Admission, _newest_that_fit
from trunkline.app import Relay
from trunkline.core.errors import RequestRefused
from trunkline.core.request import Message, TurnRequest
from trunkline.tokens import count, count_prompt

OPENAI = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1"}
GENESYS = {"preset": "genesys-chat", "base_url": "http://127.0.0.1:9", "client_id": "id", "client_secret": "secret"}


@pytest.fixture
async def admission() -> AsyncIterator[Callable[..., Any]]:
    """Make the admission of a relay with these upstreams; one of no fields is an OpenAI server with `NAME-model`."""
    async with AsyncExitStack() as stack:

        async def make(*names: str, **more: Any) -> Admission:
            upstreams = {name: {**OPENAI, "model": f"{name}-model"} for name in names} | more.pop("upstreams", {})
            relay = await stack.enter_async_context(Relay({"upstreams": upstreams, **more}))
            return relay.turns.admission

        yield make


def route(one: Admission, **fields: Any) -> tuple[str, str]:
    prompt = {} if "messages" in fields else {"input": "hi"}
    upstream, model = one.admit(TurnRequest(**prompt, **fields)).routes[0]
    return upstream.name, model


def refused(one: Admission, **fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        one.admit(TurnRequest(**fields))
    return caught.value


ROUTES = [
    ({}, ("support", "support-model")),
    ({"model": "sales"}, ("sales", "sales-model")),
    ({"model": "sales/gpt-4o"}, ("sales", "gpt-4o")),
    ({"model": "sales/meta/llama-3"}, ("sales", "meta/llama-3")),
    ({"model": "sales/"}, ("sales", "sales-model")),
    ({"upstream": "sales"}, ("sales", "sales-model")),
    ({"upstream": "sales", "model": "gpt-4o"}, ("sales", "gpt-4o")),
    ({"upstream": "sales", "model": "meta/llama-3"}, ("sales", "meta/llama-3")),
    ({"upstream": "sales", "model": "support"}, ("sales", "support")),
]


async def test_a_request_goes_to_the_upstream_it_names_and_else_to_the_default(admission):
    one = await admission("support", "sales", default_upstream="support")
    assert [route(one, **fields) for fields, _ in ROUTES] == [expected for _, expected in ROUTES]


async def test_the_only_upstream_is_the_default(admission):
    assert route(await admission("support")) == ("support", "support-model")


async def test_nobody_named_and_no_default_lists_the_known(admission):
    error = refused(await admission("support", "sales"), input="hi")
    assert (error.code, error.status) == ("model_required", 400)
    assert error.detail == "There are several upstreams; name one: support, sales."


@pytest.mark.parametrize("fields", [{"model": "suport"}, {"model": "suport/gpt-4o"}, {"upstream": "suport"}], ids=str)
async def test_an_unknown_name_is_a_404_that_proposes_the_nearest_and_lists_the_known(admission, fields):
    error = refused(await admission("support", "sales"), input="hi", **fields)
    assert (error.code, error.status) == ("model_not_found", 404)
    asked = next(iter(fields.values()))
    assert error.detail == f'There is no upstream {asked!r}. Did you mean "support"? There is: support, sales.'


@pytest.mark.parametrize(
    "fields", [{"model": "/gpt-4o"}, {"model": "/"}, {"upstream": ""}, {"model": " support"}], ids=str
)
async def test_an_empty_or_padded_name_is_no_name(admission, fields):
    assert refused(await admission("support"), input="hi", **fields).code == "model_not_found"


async def test_a_long_name_is_quoted_in_part(admission):
    assert len(refused(await admission("support"), input="hi", model="x" * 256).detail) < 200


async def test_a_platform_without_a_prompt_of_its_own_needs_one(admission):
    error = refused(await admission("support"))
    assert (error.code, error.status) == ("input_required", 400)
    assert "'support'" in error.detail


async def test_the_names_are_the_models_a_client_may_ask_for(admission):
    assert (await admission("support", "sales")).names == ["support", "sales"]


async def test_fallbacks_are_asked_in_their_order_with_models_of_their_own(admission):
    support = {**OPENAI, "model": "support-model", "fallbacks": ["local", "sales"]}
    one = await admission("sales", "local", upstreams={"support": support})
    routes = one.admit(TurnRequest(input="hi", model="support/gpt-4o")).routes
    assert [(to.upstream.name, to.model) for to in routes] == [
        ("support", "gpt-4o"),
        ("local", "local-model"),
        ("sales", "sales-model"),
    ]


# What fits


async def test_a_prompt_and_its_answer_must_fit_the_context_window(admission):
    one = await admission("support", models={"support-model": {"context_window": 100}})
    prompt = "word " * 60
    tokens = count(f"user: {prompt}")
    assert one.admit(TurnRequest(input=prompt, max_tokens=100 - tokens)).prompt_tokens == tokens
    error = refused(one, input=prompt, max_tokens=101 - tokens)
    assert (error.code, error.status) == ("context_window_exceeded", 400)
    assert error.detail == "Context window exceeded: 101 > 100"


async def test_a_model_of_an_unknown_window_takes_any_prompt(admission):
    admitted = (await admission("support")).admit(TurnRequest(input="word " * 20_000))
    assert admitted.prompt_tokens > 20_000
    assert admitted.notices == ()


async def test_an_answer_longer_than_the_model_gives_is_refused(admission):
    one = await admission("support", models={"support-model": {"context_window": 100, "max_output": 10}})
    assert route(one, max_tokens=10) == ("support", "support-model")
    error = refused(one, input="hi", max_tokens=11)
    assert (error.status, [fault.pointer for fault in error.faults]) == (400, ["/max_tokens"])


async def test_a_sliding_window_keeps_the_system_message_and_the_newest(admission):
    fields = {**OPENAI, "model": "m", "on_overflow": "truncate"}
    one = await admission(upstreams={"support": fields}, models={"m": {"context_window": 60}})
    turns = [{"role": role, "content": f"{n} " + "word " * 10} for n, role in enumerate(["user", "assistant"] * 5)]
    admitted = one.admit(TurnRequest(messages=[{"role": "system", "content": "Be brief."}, *turns]))
    kept = [message.text()[:2] for message in admitted.request.prompt()]
    assert kept[0] == "Be"
    assert kept[1:] == [f"{n} " for n in range(11 - len(kept), 10)]
    assert 1 < len(kept) < 11
    assert admitted.prompt_tokens <= 60
    (notice,) = admitted.notices
    assert notice.kind == "truncated"
    assert notice.detail.startswith(f"{11 - len(kept)} of 11 messages")
    assert refused(one, input="word " * 60).code == "context_window_exceeded"


async def test_what_genesys_takes_of_a_message_is_checked_with_every_fault(admission):
    one = await admission(upstreams={"support": {**GENESYS, "model": "m"}})
    assert route(one, messages=[{"role": "user", "content": "x" * 4_096}]) == ("support", "m")
    error = refused(one, messages=[{"role": "tool", "content": "x"}, {"role": "user", "content": "x" * 4_097}])
    assert (error.code, error.status) == ("invalid_request", 400)
    assert [fault.pointer for fault in error.faults] == ["/messages/0/role", "/messages/1/content"]


async def test_an_option_that_genesys_cannot_pass_on_is_refused_where_it_changes_the_answer(admission):
    one = await admission(upstreams={"support": {**GENESYS, "model": "m"}})
    assert route(one, options={"seed": 7}) == ("support", "m")
    error = refused(one, input="hi", options={"tools": [], "n": 2, "seed": 7})
    assert (error.code, error.status) == ("unsupported_parameter", 400)
    assert [fault.pointer for fault in error.faults] == ["/n", "/tools"]


async def test_one_answer_is_what_genesys_gives_anyway(admission):
    one = await admission(upstreams={"support": {**GENESYS, "model": "m"}})
    assert route(one, options={"n": 1}) == ("support", "m")


def test_a_tool_call_and_its_result_stay_together_or_go_together():
    messages = [
        Message(role="system", content="Be kind."),
        Message(role="user", content="old words " * 20),
        Message(role="assistant", content=None, tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        Message(role="tool", content="result " * 30, tool_call_id="a"),
        Message(role="user", content="and now?"),
    ]
    for room in range(10, 120):
        kept = _newest_that_fit(messages, room, "m")
        roles = [message.role for message in kept or ()]
        assert ("tool" in roles) == ("assistant" in roles)
        assert kept is None or count_prompt(kept, "m") <= room
        assert not roles or (roles[0], roles[-1]) == ("system", "user")


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "x", "options": {"\ud83d": 1}},
        {"input": "x", "options": {"tools": [{"name": "\ud83d"}]}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "more": "\ud83d"}]}]},
    ],
    ids=repr,
)
async def test_half_a_character_in_what_a_request_may_hold_besides_is_refused(admission, fields):
    one = await admission("support")
    with pytest.raises(RequestRefused, match="lone surrogate"):
        one.admit(TurnRequest(**fields))
