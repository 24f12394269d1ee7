"""`[guards.NAME]`: what screens the answers of the upstreams that name it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trunkline.core.errors import nearest
from trunkline.guards.matching.nfa import DEFAULT_CAP, UNBOUNDED_CAP
from trunkline.guards.matching.pattern import parse
from trunkline.guards.matching.syntax import longest, shortest
from trunkline.guards.profiles import PROFILES
from trunkline.guards.rule import MAX_CAP, MAX_REPLACEMENT, Action
from trunkline.guards.rules import RULES
from trunkline.guards.validators import VALIDATORS

RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Replacement = Annotated[str, Field(max_length=MAX_REPLACEMENT)]
ShippedAction = Literal["mask", "partial", "hash", "pseudonym", "remove", "flag", "block", "off"]
MAX_TERMS_FILE_BYTES: Final = 16 << 20  # bounds what a start reads


class RuleSettings(BaseModel):
    """`[[guards.NAME.rules]]`: a rule of your own, which goes before those that ship."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RuleName = Field(description="What it is called in events, metrics and `[NAME]`.")
    pattern: str = Field(
        min_length=1,
        description="A regular expression: literals, classes, groups, `|`, repeats; at its ends a context character.",
    )
    action: Action = Field(default="mask", description="What becomes of a match; `allow` lets it pass untouched.")
    validator: str | None = Field(default=None, description="What a match must pass as well, such as `luhn`.")
    replacement: Replacement | None = Field(default=None, description="What `mask` writes, in place of `[NAME]`.")
    cap: int | None = Field(default=None, ge=1, le=MAX_CAP, description="The longest match, in characters.")
    ignore_case: bool = Field(default=False, description="Whether `a` is also `A`.")

    @model_validator(mode="after")
    def _runs(self) -> RuleSettings:
        body = parse(self.pattern, ignore_case=self.ignore_case).body
        least, cap = shortest(body), self.cap or (UNBOUNDED_CAP if longest(body) is None else DEFAULT_CAP)
        if least > cap:
            raise ValueError(f"its shortest match has {least} characters, and cap is {cap}: nothing would be found")
        if self.validator is not None and self.validator not in VALIDATORS:
            known = ", ".join(VALIDATORS)
            hint = nearest(self.validator, VALIDATORS)
            raise ValueError(f"there is no validator {self.validator!r}.{hint} Known: {known}.")
        return self


class TermSettings(BaseModel):
    """`[[guards.NAME.terms]]`: words and phrases with one action, found in any case and in look-alike letters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RuleName = Field(default="term", description="What it is called in events, metrics and `[NAME]`.")
    words: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        default=(), description="The terms themselves."
    )
    file: Path | None = Field(default=None, description="A file with one term a line; empty and # lines are none.")
    action: Action = Field(default="mask", description="What becomes of a term.")
    replacement: Replacement | None = Field(default=None, description="What `mask` writes, in place of `[NAME]`.")
    whole_word: bool = Field(default=True, description="Whether a term inside a longer word is none.")

    @model_validator(mode="after")
    def _has_words(self) -> TermSettings:
        if not self.words and self.file is None:
            raise ValueError("give words, a file, or both")
        if self.name in RULES:
            raise ValueError(f"{self.name!r} is the name of a rule that ships; choose another")
        return self


class GuardSettings(BaseModel):
    """`[guards.NAME]`: a profile, and what is different from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = Field(default="contact-centre", description="The ready profile that it begins with.")
    markdown: Literal["keep", "strip"] | None = Field(
        default=None, description="Whether Markdown's marks are taken out before anything is looked for."
    )
    whitespace: Literal["keep", "collapse"] | None = Field(
        default=None, description="Whether runs of white space become one blank, or one empty line."
    )
    tool_arguments: Literal["screen", "pass"] = Field(
        default="screen", description="Whether the arguments of tool calls are screened as the answer is."
    )
    actions: dict[RuleName, ShippedAction] = Field(
        default_factory=dict, description="By rule that ships: its action, in place of the profile's; `off` for none."
    )
    replacements: dict[RuleName, Replacement] = Field(
        default_factory=dict, description="By rule that ships: what `mask` writes, in place of `[NAME]`."
    )
    allow: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        default=(), description="Texts that are always let through, such as your own service number."
    )
    terms_file: Path | None = Field(default=None, description="Short for a list of terms that are masked: its file.")
    terms: tuple[TermSettings, ...] = Field(default=(), description="Lists of terms.")
    rules: tuple[RuleSettings, ...] = Field(default=(), description="Rules of your own.")

    @property
    def strips_markdown(self) -> bool:
        """Whether Markdown is taken out, by these settings or by their profile."""
        return (self.markdown or PROFILES[self.profile].markdown) == "strip"

    @property
    def collapses_whitespace(self) -> bool:
        """Whether white space is collapsed, by these settings or by their profile."""
        return (self.whitespace or PROFILES[self.profile].whitespace) == "collapse"

    @field_validator("profile")
    @classmethod
    def _is_a_profile(cls, value: str) -> str:
        if value not in PROFILES:
            raise ValueError(f"there is no profile {value!r}.{nearest(value, PROFILES)} Known: {', '.join(PROFILES)}.")
        return value

    @field_validator("actions", "replacements")
    @classmethod
    def _are_rules(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in RULES:
                raise ValueError(f"there is no rule {name!r}.{nearest(name, RULES)} See `trunkline guard rules`.")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> GuardSettings:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1 or name in RULES})
        if twice:
            raise ValueError(f"a rule of another name is needed: {', '.join(twice)} is there already")
        return self


def read_terms(path: Path) -> tuple[str, ...]:
    """Read a file of terms, one a line. Raises `ValueError` with what is wrong with it."""
    try:
        if path.stat().st_size > MAX_TERMS_FILE_BYTES:
            raise ValueError(f"{path}: longer than {MAX_TERMS_FILE_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    terms = tuple(line.strip() for line in lines)
    return tuple(term for term in terms if term and not term.startswith("#"))
