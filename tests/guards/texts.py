"""Rules and texts to try guards with: what people write, what it is mistaken for, its disguises, and nonsense."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from random import Random

import quicktok
from stdnum import iban, luhn

from trunkline.guards.rule import Action, Rule, Terms

TEXTS = int(os.environ.get("TRUNKLINE_GUARD_TEXTS", "300"))
"""How many random texts each of the larger tests takes; 30,000 for a thorough run."""

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
TERMS = ("project falcon", "badword", "Straße", "机密", "secret", "secret sauce", "sauce", "a", "e-mail", "tor", "Café")


def is_card(value: str) -> bool:
    return luhn.is_valid("".join(filter(str.isdigit, value)))


def is_lucky(value: str) -> bool:
    """A validator that fails for every other value."""
    return 1 // (sum(map(ord, value)) % 2) == 1


def personal(action: Action = "mask") -> list[Rule]:
    """Rules such as are shipped."""
    return [
        Rule("ssn", r"(?<![\w-])\d{3}[- ]\d{2}[- ]\d{4}(?!\w)", action),
        Rule("card", r"\b(?:\d{13,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}|\d{4}[ -]\d{6}[ -]\d{5})\b", action, is_card),
        Rule("email", r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?!\w)", action),
        Rule("phone", r"(?<![\w+])(?:\+\d{1,3}(?:[ ./-]?\(?\d{1,5}\)?){2,6}|\(\d{3}\) ?\d{3}[-. ]\d{4})(?!\w)", action),
        Rule("iban", r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}[A-Z0-9]{0,3}(?!\w)", action, iban.is_valid),
        Rule("ipv4", rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?!\w)", action),
        Rule("resident", r"(?<!\d)\d{17}[\dXx](?!\d)", action, is_lucky),
        Rule("key", r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}", action, cap=40),
        Rule("born", r"\bborn:? \d{1,2}[./]\d{1,2}[./]\d{4}", action, ignore_case=True),
    ]


def acting(rules: Sequence[Rule], **actions: Action) -> list[Rule]:
    """The same rules with other actions, by name."""
    return [
        Rule(r.name, r.pattern, actions.get(r.name, r.action), r.validator, r.replacement, r.cap, r.ignore_case)
        for r in rules
    ]


RULE_SETS: dict[str, list[Rule | Terms]] = {
    "masking": [*personal(), Terms("term", TERMS)],
    "every action": [
        *acting(personal(), card="partial", email="pseudonym", phone="hash", iban="flag", ipv4="remove", key="block"),
        Rule("date", r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)", "allow"),
        Rule("number", r"(?<!\d)\d{2,}", "flag"),
        Terms("term", TERMS, "remove"),
        Terms("never", ("boom",), "block", whole_word=False),
    ],
    "blocking": [*acting(personal(), email="block"), Terms("term", TERMS), Terms("stop", ("机", "tor"), "block")],
    "removing": [*personal(), Terms("term", TERMS, "remove"), Terms("noise", ("x", "@"), "remove", whole_word=False)],
}

VALUES = (
    "536-22-1234", "4111 1111 1111 1111", "4111111111111112", "378282246310005", "ann.lee@example.com", "a@b.co",
    "+49 30 123456", "(212) 555-0142", "DE89 3704 0044 0532 0130 00", "ES9121000418450200051332", "10.1.2.255",
    "11010519491231002X", "sk-Ab3dEf6hIj9", "Born: 3.4.1990", "19490-1231", "boom", "2024-05-03", "v1.2.3.4", "a@b",
    "std::vector<int>", "order #1234567890", "1Z999AA10123456784", "$1,234.56", "ratio 4:3", "4111111111111111111",
)  # fmt: skip
DISGUISED = ("SECRET  sauce", "badwords", "ｂａｄｗｏｒｄ", "b\u200badword", "ѕесrеt", "Cafe\u0301")
ODD = "0123456789 -.:@+()abAD\u200b\u0301１＠机x…"


def text(rnd: Random) -> str:
    """A text of values, terms, near misses, disguises and noise."""
    return "".join(_piece(rnd) for _ in range(rnd.randint(1, 7)))


def _piece(rnd: Random) -> str:
    kind = rnd.random()
    if kind < 0.4:
        value = rnd.choice(VALUES)
        for _ in range(rnd.choice((0, 0, 1, 2))):
            place = rnd.randrange(len(value) + 1)
            value = value[:place] + rnd.choice(ODD) + value[place + (rnd.random() < 0.5) :]
        return value
    if kind < 0.6:
        return "".join(rnd.choice(ODD) for _ in range(rnd.randint(1, 25)))
    if kind < 0.75:
        return rnd.choice(TERMS + DISGUISED)
    if kind < 0.85:
        return "\u200b" * rnd.randint(5, 12)
    return rnd.choice((" ", ". ", ", ", "\n", "@", "号码是", "the "))


def cuts(rnd: Random, whole: str, most: int) -> list[str]:
    """The text in pieces of at most so many characters."""
    pieces = []
    while whole:
        size = rnd.randint(1, most)
        pieces.append(whole[:size])
        whole = whole[size:]
    return pieces


def tokens(whole: str) -> list[str]:
    """The text as a model's tokens bring it: characters that are cut in two come with their last byte."""
    encoding = quicktok.get_encoding("o200k_base")
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces = [decoder.decode(encoding.decode_bytes([token])) for token in encoding.encode_ordinary(whole)]
    return [piece for piece in pieces if piece]


SMALL = "ab1 -\u200b机Ａ"
_LEFT = ("", "", "", r"\b", r"(?<!\w)", "(?<=a)", "(?<![ab-])", "(?<!.)", "(?<=[^a])")
_RIGHT = ("", "", "", r"\b", r"(?!\w)", "(?=a)", "(?![ab-])", "(?!.)", "(?=[^a])")
_CHARS = ("a", "b", "1", " ", "-", r"\d", r"\w", ".", "[ab]", "[^a]", "[a-b1]", r"\s", "机", "A")
_BOUNDED_COUNTS = ("?", "{2}", "{1,3}", "{0,2}", "{,2}")
_COUNTS = (*_BOUNDED_COUNTS, "*", "+", "{2,}", "*?")
_VALIDATORS = (None, None, None, lambda value: len(value) % 2 == 0, lambda value: value.count("a") != 1, is_lucky)
_WORDS = ("ab", "a", "b1", "机", "a机", "a b", "1-1", "aab", "ba-")
ACTIONS: tuple[Action, ...] = ("mask", "partial", "hash", "pseudonym", "remove", "flag", "block", "allow")


def small_pattern(rnd: Random, depth: int = 0, *, counts: Sequence[str] = _COUNTS) -> str:
    """The body of a pattern over few characters.

    What is repeated without end repeats nothing itself: the reference's `re` would try all ways to divide a text
    between the two.
    """
    kind = rnd.random()
    if depth > 3 or kind < 0.4 or (kind >= 0.75 and not counts):
        return rnd.choice(_CHARS)
    if kind < 0.75:
        left, right = (small_pattern(rnd, depth + 1, counts=counts) for _ in range(2))
        return left + right if kind < 0.6 else f"(?:{left}|{right})"
    count = rnd.choice(counts)
    inner = _BOUNDED_COUNTS if count in _BOUNDED_COUNTS else ()
    return f"(?:{small_pattern(rnd, depth + 1, counts=inner)}){count}"


def small_rules(rnd: Random, actions: Sequence[Action] = ACTIONS, *, validated: bool = True) -> list[Rule | Terms]:
    """One to four rules for texts over few characters, so that they often match, meet and overlap."""
    rules: list[Rule | Terms] = []
    for number in range(rnd.randint(1, 4)):
        action = rnd.choice(actions)
        if rnd.random() < 0.3:
            words = tuple(rnd.sample(_WORDS, rnd.randint(1, 4)))
            rules.append(Terms(f"t{number}", words, action, whole_word=rnd.random() < 0.7))
        else:
            pattern = f"{rnd.choice(_LEFT)}(?:{small_pattern(rnd)}){rnd.choice(_RIGHT)}"
            validator = rnd.choice(_VALIDATORS) if validated else None
            cap = rnd.choice((None, None, 1, 2, 3, 5))
            rules.append(Rule(f"r{number}", pattern, action, validator, cap=cap, ignore_case=rnd.random() < 0.2))
    return rules


def small_text(rnd: Random) -> str:
    """A text over few characters."""
    pieces = []
    for _ in range(rnd.randint(1, 14)):
        kind = rnd.random()
        if kind < 0.8:
            pieces.append(rnd.choice(SMALL) * rnd.randint(1, 3))
        else:
            pieces.append(rnd.choice(_WORDS) if kind < 0.95 else "\u200b" * rnd.randint(6, 11))
    return "".join(pieces)


PROSE = """\
Thanks for getting in touch! I've checked your order #20481: it left our warehouse on 3 May 2024 at 14:30 and
should be with you within 2-3 working days. You'll get an e-mail once it's out for delivery. Is there anything
else I can help you with?

To reset your password, please follow these steps:
1. Open **Settings > Account** and choose "Reset password".
2. Enter the code that we've just sent you (it's valid for 15 minutes).
3. Pick a new one; it needs at least 12 characters.

The refund of $1,249.99 (incl. VAT) was approved yesterday. Depending on your bank, it takes up to 5 days; the
total is 12.5 % lower than before. I'm sorry, I can't find an account with those details. Could you check the
spelling, or call us Mon-Fri, 9:00-17:30? See https://example.org/help.

Vielen Dank für Ihre Nachricht. Ihr Paket wurde gestern um 18:05 Uhr zugestellt und liegt bei Ihrem Nachbarn.
Möchten Sie, dass wir eine
Nachforschung beantragen? Die Rückzahlung über 89,90 € überweisen wir in den nächsten Tagen; weitere Schritte
sind nicht nötig.

Gracias por su paciencia. Hemos revisado su factura del 12/03/2024 y el importe correcto es de 45,20 €.
¿Quiere que le enviemos una copia?
Para cambiar la dirección de envío, abra «Mis pedidos» y pulse en el botón «Editar».

Merci d'avoir contacté notre équipe. Votre commande a bien été expédiée ce matin ; vous la recevrez d'ici 48
heures. N'hésitez pas à revenir vers nous si besoin. Grazie per l'attesa: il suo rimborso è già stato
elaborato. Obrigado pelo contato! Seu pedido já está a caminho.

您好，感谢您的耐心等待。您的订单已于5月3日发出，预计2至3天送达。如需退货，请在“我的订单”中申请，我们会尽快为您处理。
नमस्ते, आपका ऑर्डर कल भेज दिया गया है। क्या मैं आपकी और कोई सहायता कर सकता हूँ?
"""
