"""What each choice of an answer says: content, a refusal, reasoning or tool calls, cut into parts."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.simulators.tokens import cut

_REASONING = "The customer asks about an order. I look it up, check the dates, and answer in plain words."
_REFUSAL = "I am sorry, but I cannot help with that request."
_CALLS = (
    ("lookup_order", '{"order_number":"482913","fields":["status","carrier","delivery_date"]}'),
    ("open_ticket", '{"subject":"Parcel 2 of 2 is late \\u2013 please check","priority":2,"tags":["delivery","späť"]}'),
)

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Part:
    """One delta; `text` is what it adds to the answer's text, `counts` whether faults count it as a piece."""

    delta: JsonObject
    tokens: int
    text: str = ""
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: how it opens, its parts, how it finishes, and the message that a whole answer has instead."""

    index: int
    opening: JsonObject
    parts: list[Part]
    message: JsonObject
    finish: str

    @property
    def text(self) -> str:
        """The text that the choice says in all."""
        return "".join(part.text for part in self.parts)


def content(index: int, text: str, limit: int | None) -> Choice:
    """Say `text`, at most `limit` tokens of it."""
    pieces, cut_short = cut(text, limit)
    parts = [Part({"content": piece.text}, piece.tokens, piece.text) for piece in pieces]
    message: JsonObject = {"role": "assistant", "content": "".join(piece.text for piece in pieces), "refusal": None}
    opening: JsonObject = {"role": "assistant", "content": ""}
    return Choice(index, opening, parts, message, "length" if cut_short else "stop")


def refusal(index: int) -> Choice:
    """Refuse, in the field that the API has for it."""
    parts = [Part({"refusal": piece.text}, piece.tokens) for piece in cut(_REFUSAL)[0]]
    message: JsonObject = {"role": "assistant", "content": None, "refusal": _REFUSAL}
    return Choice(index, {"role": "assistant", "content": None, "refusal": ""}, parts, message, "stop")


def tool_calls(index: int, tools: list[str]) -> Choice:
    """Call two tools, the first two of `tools` as far as it goes, with arguments cut as tokens are."""
    parts: list[Part] = []
    calls: list[JsonObject] = []
    for place, (name, arguments) in enumerate(_CALLS):
        function = tools[place] if place < len(tools) else name
        call_id = f"call_sim{index}{place}"
        head = {"index": place, "id": call_id, "type": "function", "function": {"name": function, "arguments": ""}}
        parts.append(Part({"tool_calls": [head]}, 0, counts=False))
        for piece in cut(arguments)[0]:
            delta: JsonObject = {"tool_calls": [{"index": place, "function": {"arguments": piece.text}}]}
            parts.append(Part(delta, piece.tokens))
        calls.append({"id": call_id, "type": "function", "function": {"name": function, "arguments": arguments}})
    message: JsonObject = {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}
    return Choice(index, {"role": "assistant", "content": None}, parts, message, "tool_calls")


def with_reasoning(choice: Choice) -> tuple[Choice, int]:
    """Let `choice` think aloud first; gives the tokens of that too."""
    pieces = cut(_REASONING)[0]
    thoughts = [Part({"reasoning_content": piece.text}, piece.tokens, counts=False) for piece in pieces]
    message = {**choice.message, "reasoning_content": _REASONING}
    thinking = Choice(choice.index, choice.opening, [*thoughts, *choice.parts], message, choice.finish)
    return thinking, sum(piece.tokens for piece in pieces)
