"""Ready profiles: which rules screen an answer, what becomes of their matches, and how the text is prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from trunkline.guards.rule import Action
from trunkline.guards.rules import RULES

_CREDENTIALS: Final = (
    "aws_access_key", "aws_secret_key", "github_token", "openai_key", "stripe_key", "slack_token", "google_key", "jwt",
    "private_key", "bearer_token", "api_key",
)  # fmt: skip
_PAYMENT: Final = ("card", "iban")
RuleAction = Action | Literal["off"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What is done where nothing else is said: `action` by every rule that ships, except those in `actions`."""

    meaning: str
    action: RuleAction = "mask"
    actions: Mapping[str, RuleAction] = field(default_factory=dict)
    replacement: str | None = None
    terms_replacement: str | None = None
    terms_action: Action = "mask"
    markdown: Literal["keep", "strip"] = "keep"
    whitespace: Literal["keep", "collapse"] = "keep"

    def action_of(self, rule: str) -> RuleAction:
        """Return what a rule that ships does in this profile."""
        return "allow" if RULES[rule].action == "allow" else self.actions.get(rule, self.action)


def _each(rules: tuple[str, ...], action: RuleAction) -> dict[str, RuleAction]:
    return dict.fromkeys(rules, action)


PROFILES: Final[dict[str, Profile]] = {
    "contact-centre": Profile(
        "Personal data and credentials are masked by name: `[CARD]`, `[EMAIL]`. The default.",
    ),
    "payment": Profile(
        "As contact-centre, but a card and an account keep their last four digits, and a credential ends the turn.",
        actions=_each(_PAYMENT, "partial") | _each(_CREDENTIALS, "block"),
    ),
    "eu-privacy": Profile(
        "Each value has one name for the whole conversation (`[EMAIL_1]`), so that an answer stays readable and the "
        "person unknown; credentials are masked.",
        action="pseudonym",
        actions=_each(_CREDENTIALS, "mask"),
    ),
    "block": Profile(
        "Personal data or a term on the list ends the turn as blocked, before any of it is shown.",
        action="block",
        terms_action="block",
    ),
    "redact": Profile(
        "Personal data becomes `[REDACTED]`, a term on the list `[FILTERED]`; Markdown and runs of blanks go.",
        replacement="[REDACTED]",
        terms_replacement="[FILTERED]",
        markdown="strip",
        whitespace="collapse",
    ),
}
DEFAULT: Final = "contact-centre"
NONE: Final = "none"
