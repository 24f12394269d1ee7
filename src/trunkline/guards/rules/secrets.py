"""Rules for credentials: keys and tokens of the large platforms, bearer tokens, private keys."""

from __future__ import annotations

from typing import Final

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import END, START, phrases

# Long enough for what is issued today; what is longer loses its first part, and is worthless without it.
_TOKEN_CAP: Final = 1024
_JWT_CAP: Final = 4096
_PRIVATE_KEY_CAP: Final = 4096

_BASE64_URL: Final = r"[A-Za-z0-9_-]"
_LINE_BREAK: Final = r"(?:\s|\\[rn]){1,4}"
_ASSIGNMENT: Final = r"[\"']?\s{0,3}(?:[:=]|is)\s{0,3}[\"']?"


def _drawn(signs: str, *, dotted: bool = False) -> str:
    """Return a pattern for a token of letters, digits and `signs` that has a digit, as what is drawn by lot has.

    It has 16 characters or more, the first digit among the first 121. With `dotted`, full stops may stand inside; one
    behind it ends the sentence. (A validator would be asked at each end of a long run of words.)
    """
    anything = rf"(?:\.?[A-Za-z0-9{signs}])" if dotted else f"[A-Za-z0-9{signs}]"
    wordy = rf"[A-Za-z.{signs}]" if dotted else f"[A-Za-z{signs}]"
    early = (f"{wordy}{{{place}}}[0-9]{anything}{{{15 - place},}}" for place in range(15))
    return f"(?:{'|'.join(early)}|{wordy}{{15,120}}[0-9]{anything}*)"


_OPAQUE: Final = _drawn("_~+/-", dotted=True) + "={0,2}"

RULES: Final = (
    # Source: AWS IAM user guide, "IAM identifiers": AKIA and ASIA begin access keys, ABIA service bearer tokens, ACCA
    # context credentials.
    Rule(name="aws_access_key", pattern=START + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}" + END),
    # Source: AWS IAM user guide, "Manage access keys": a secret access key has 40 characters of the base64 alphabet.
    # Without a label it cannot be told from a digest.
    Rule(
        name="aws_secret_key",
        pattern=START
        + r"(?:[Aa][Ww][Ss][ _-]?)?"
        + phrases("secret access key, secret key")
        + _ASSIGNMENT
        + r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    ),
    # Source: GitHub docs, "About authentication to GitHub", token formats (ghp_, gho_, ghu_, ghs_, ghr_, github_pat_).
    # App tokens may carry a JWT, hence the parts.
    Rule(
        name="github_token",
        pattern=START + r"(?:gh[pousr]_[A-Za-z0-9_-]{36,}(?:\.[A-Za-z0-9_-]+){0,2}|github_pat_[A-Za-z0-9_]{22,})",
        cap=_TOKEN_CAP,
    ),
    # Source: the platforms' API references ("sk-", "sk-proj-", "sk-svcacct-", "sk-ant-"); none is shorter than 16
    # characters behind the prefix.
    Rule(
        name="openai_key",
        pattern=START + "sk-" + _drawn("_-"),
        cap=_TOKEN_CAP,
    ),
    # Source: Stripe docs, "API keys": sk_ (secret) and rk_ (restricted) keys, live or test; pk_ is public by design.
    Rule(name="stripe_key", pattern=START + r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}", cap=_TOKEN_CAP),
    # Source: Slack docs, "Token types" (xoxb-, xoxp-, xapp-, xoxe-) and "Incoming webhooks" (the URL is the secret).
    Rule(
        name="slack_token",
        pattern=START
        + r"(?:xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"
        + r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{16,})",
        cap=_TOKEN_CAP,
    ),
    # Source: Google Cloud docs, "Manage API keys" (AIza and 35 characters), OAuth access tokens (ya29.) and client
    # secrets (GOCSPX-).
    Rule(
        name="google_key",
        pattern=START + r"(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,})",
        cap=_TOKEN_CAP,
    ),
    # Source: RFC 7519 and RFC 7515 section 3.1 (compact serialisation); a header and a claims set begin with `{"`, in
    # base64url "eyJ". The signature may be empty (RFC 7519 section 6), and an encrypted token (RFC 7516) has five
    # parts.
    Rule(
        name="jwt",
        pattern=START
        + rf"eyJ{_BASE64_URL}{{8,}}\."
        + rf"(?:eyJ{_BASE64_URL}{{4,}}\.{_BASE64_URL}*|(?:{_BASE64_URL}*\.){{3}}{_BASE64_URL}{{16,}})",
        cap=_JWT_CAP,
    ),
    # Source: RFC 7468 (textual encodings of keys), RFC 1421 section 4.4 (headers of an encrypted key), RFC 9580 section
    # 6.2 (OpenPGP). A key whose last line never comes is as secret as a whole one, so the end is optional. `\n` is how
    # JSON writes a line break.
    Rule(
        name="private_key",
        pattern=r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_LINE_BREAK}[A-Za-z-]{{4,16}}: [^\n\\]{{1,80}})*"
        rf"(?:{_LINE_BREAK}?[A-Za-z0-9+/=]{{16,}})?(?:{_LINE_BREAK}[A-Za-z0-9+/=]{{16,}})*"
        rf"(?:{_LINE_BREAK}[A-Za-z0-9+/]{{1,15}}={{0,2}})?"
        rf"(?:{_LINE_BREAK}=[A-Za-z0-9+/]{{4}})?"
        rf"(?:{_LINE_BREAK}-----END (?:[A-Z0-9]{{1,12}} ){{0,3}}PRIVATE KEY(?: BLOCK)?-----)?",
        cap=_PRIVATE_KEY_CAP,
    ),
    # Source: RFC 6750 section 2.1 (b64token after "Bearer"). Fewer than 16 characters are a word of prose.
    Rule(
        name="bearer_token",
        pattern=START + phrases("bearer") + r"[ :]{1,2}" + _OPAQUE,
        cap=_TOKEN_CAP,
    ),
    # Source: the names that programs give to credentials; the value must look drawn by lot.
    Rule(
        name="api_key",
        pattern=START + phrases("api key, api token, access token, auth token, client secret") + _ASSIGNMENT + _OPAQUE,
        cap=_TOKEN_CAP,
    ),
)
