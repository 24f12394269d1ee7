"""Builds a guard out of its settings, and the chain of stages that one text of one turn goes through."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.known_terms import known_terms
from trunkline.guards.markdown import MarkdownStrip
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.view import MARKDOWN_MARKS
from trunkline.guards.profiles import PROFILES, Profile
from trunkline.guards.rule import Report, Rule, Terms
from trunkline.guards.rules import RULES
from trunkline.guards.settings import GuardSettings, TermSettings, read_terms
from trunkline.guards.surrogates import SurrogateJoin
from trunkline.guards.tool_arguments import ToolArguments
from trunkline.guards.validators import VALIDATORS
from trunkline.guards.whitespace import WhitespaceCollapse

MAX_CONVERSATIONS: Final = 100_000  # bounds the memory of keys and pseudonyms; the oldest go first
_SAMPLE: Final = (
    "Hello! Thanks for waiting, I have found your order 48213. It left our warehouse on 12 March 2026 at 9:45 and will "
    "reach you by Friday, 3 to 5 pm. The total was $1,249.90; see https://shop.example.com/orders?id=48213 for more. "
    "Ihre Bestellung wurde gestern verschickt. Su pedido llega el viernes. Votre commande arrive demain.\n"
)


class Guard:
    """What screens the answers of an upstream: made once at start, shared by all its turns.

    Raises `ValueError` where a pattern, a term or a file cannot be used.
    """

    def __init__(self, settings: GuardSettings | None, rules: Sequence[Rule | Terms] | None = None) -> None:
        """Take the settings; None makes a guard that looks for nothing. `rules` stand in for those of the settings."""
        self._automaton: Automaton | None = None
        self._strips = self._collapses = False
        self.passes_tool_arguments = settings is not None and settings.tool_arguments == "pass"
        if settings is None:
            return
        self._automaton = Automaton(list(rules_of(settings)) if rules is None else rules, hidden=MARKDOWN_MARKS)
        self._automaton.warm_up(_SAMPLE)
        self._strips = settings.strips_markdown
        self._collapses = settings.collapses_whitespace

    @property
    def looks_for_nothing(self) -> bool:
        """True where only a turn's own names can be found."""
        return self._automaton is None

    def for_turn(self, secrets: Secrets, names: Sequence[str] = ()) -> TurnGuard:
        """Make what a turn's screen asks for stages: with its conversation's secrets, and the names it brings along."""
        return TurnGuard(self, secrets, names)

    def stages(self, secrets: Secrets, names: Automaton | None, report: Report, *, prepared: bool) -> list[Stage]:
        """Make the stages of one text, in their order; `prepared`: with what takes out Markdown and blanks.

        `report` is told of faults of validators.
        """
        chain: list[Stage] = [SurrogateJoin()]
        if prepared and self._strips:
            chain.append(MarkdownStrip())
        if prepared and self._collapses:
            chain.append(WhitespaceCollapse())  # ahead: `536  22  1234` is a number once it is collapsed
        if self._automaton is not None:
            chain.append(Matcher(self._automaton, secrets, report))
        if names is not None:
            # Behind the matcher, so that what it reports does not depend on how far this stage has come.
            chain.append(Matcher(names, secrets, report))
        if prepared and self._collapses:
            chain.append(WhitespaceCollapse())  # And behind: what was removed leaves its blanks.
        return chain


class TurnGuard:
    """The guard of one turn: makes a chain for each of its texts."""

    __slots__ = ("_guard", "_names", "_secrets", "fault")

    def __init__(self, guard: Guard, secrets: Secrets, names: Sequence[str]) -> None:
        self._guard = guard
        self._secrets = secrets
        self._names = known_terms(names) if names else None
        self.fault: Exception | None = None
        """The first fault of a validator."""

    def text(self) -> Sequence[Stage]:
        """Make the stages of an answer, a thought, a refusal, or a platform's words."""
        return self._guard.stages(self._secrets, self._names, self._met, prepared=True)

    def arguments(self) -> Sequence[Stage]:
        """Make the stages of one tool call's arguments, whose strings have chains of their own."""
        if self._guard.passes_tool_arguments or (self._guard.looks_for_nothing and self._names is None):
            return (SurrogateJoin(),)
        return (ToolArguments(self.word),)

    def word(self) -> Sequence[Stage]:
        """Make the stages of a text that is no prose: a value in arguments, the name of a tool."""
        return self._guard.stages(self._secrets, self._names, self._met, prepared=False)

    def _met(self, fault: Exception) -> None:
        self.fault = self.fault or fault


def rules_of(settings: GuardSettings) -> Iterator[Rule | Terms]:
    """Return the rules of a guard in the order of their priority: what is allowed, one's own, terms, what ships."""
    profile = PROFILES[settings.profile]
    for n, text in enumerate(settings.allow):
        yield Rule(f"allowed_{n}", re.escape(text), "allow", ignore_case=True)
    for own in settings.rules:
        validator = None if own.validator is None else VALIDATORS[own.validator]
        yield Rule(own.name, own.pattern, own.action, validator, own.replacement, own.cap, own.ignore_case)
    if settings.terms_file is not None:
        yield _terms(TermSettings(file=settings.terms_file, action=profile.terms_action), profile)
    for terms in settings.terms:
        yield _terms(terms, profile)
    for name, rule in RULES.items():
        action = settings.actions.get(name, profile.action_of(name))
        if action != "off":
            replacement = settings.replacements.get(name, rule.replacement or profile.replacement)
            yield replace(rule, action=action, replacement=replacement)


def _terms(settings: TermSettings, profile: Profile) -> Terms:
    words = settings.words + (read_terms(settings.file) if settings.file is not None else ())
    action = settings.action if "action" in settings.model_fields_set else profile.terms_action
    replacement = profile.terms_replacement if settings.replacement is None else settings.replacement
    return Terms(settings.name, words, action, replacement, settings.whole_word)


class Conversations:
    """Keeps the secrets of conversations: by the principal and the conversation, or for one turn where it has none.

    `record` is told of those that are new or have named more, so that they may outlive the process.
    """

    def __init__(
        self, make_key: Callable[[], bytes], record: Callable[[str, str, Secrets | None], None] | None = None
    ) -> None:
        self._make_key = make_key
        self._record = record
        self._secrets: OrderedDict[tuple[str, str], Secrets] = OrderedDict()

    def restore(self, principal: str, conversation: str, secrets: Secrets) -> None:
        """Take back what an earlier process knew, the least recently used first."""
        self._secrets[principal, conversation] = secrets

    def secrets(self, principal: str, conversation: str | None) -> Secrets:
        """Return the secrets of a conversation, new ones where it has none yet."""
        if not conversation:
            return Secrets(self._make_key())
        key = (principal, conversation)
        found = self._secrets.get(key)
        if found is None:
            found = self._secrets[key] = Secrets(self._make_key())
            self.used(principal, conversation)
            if len(self._secrets) > MAX_CONVERSATIONS:
                self._secrets.popitem(last=False)
        else:
            self._secrets.move_to_end(key)
        return found

    def used(self, principal: str, conversation: str) -> None:
        """A turn of this conversation is over, or begins it: what it has now is worth recording."""
        found = self._secrets.get((principal, conversation))
        if found is not None and self._record is not None:
            self._record(principal, conversation, found)

    def forget(self, principal: str | None, conversation: str) -> None:
        """Forget a conversation's key and names: what was written with them can no longer be tied to anything.

        With None it is everybody's conversation of that name.
        """
        if not conversation:
            return
        whose = [key[0] for key in self._secrets if key[1] == conversation] if principal is None else [principal]
        for one in whose:
            self._secrets.pop((one, conversation), None)
            if self._record is not None:
                self._record(one, conversation, None)
