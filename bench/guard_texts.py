"""What the bench gives to a guard: prose, digits, data, Markdown, texts made to hurt; and its rules and terms."""
# ruff: noqa: RUF001 - other scripts than Latin are the point

from __future__ import annotations

import itertools
from random import Random
from typing import Final

from trunkline.guards.matching.pattern import parse
from trunkline.guards.matching.syntax import MAX_CODE, Chars, CharSet, Choice, Node, Repeat
from trunkline.guards.rule import Rule, Terms
from trunkline.guards.rules import RULES

PROSE: Final[dict[str, str]] = {
    "en": "Thanks for waiting! I have looked at your order and it left our warehouse yesterday afternoon. The carrier "
    "says that it should reach you by Friday, but there may be a delay because of the weather. If you are not at home, "
    "they will leave it with a neighbour. You don't have to do anything; we'll send a message as soon as it's on its "
    "way. As for the invoice, I can see why the amount surprised you: the discount was only applied to the second "
    "item. I've asked our billing team to correct that, and the difference will be paid back within a few days. Is "
    "there anything else I can help you with today?",
    "de": "Vielen Dank für Ihre Geduld! Ich habe mir Ihre Bestellung angesehen, sie hat unser Lager gestern verlassen. "
    "Der Paketdienst rechnet mit der Zustellung am Freitag, wegen des Wetters kann es aber etwas länger dauern. Falls "
    "Sie nicht zu Hause sind, wird die Sendung bei einem Nachbarn abgegeben. Was die Rechnung angeht, verstehe ich "
    "Ihre Frage: Der Rabatt wurde nur auf den zweiten Artikel angewendet. Unsere Buchhaltung berichtigt das, und der "
    "Unterschied wird in den nächsten Tagen erstattet. Kann ich sonst noch etwas für Sie tun?",
    "es": "¡Gracias por esperar! He revisado su pedido y salió ayer por la tarde de nuestro almacén. El transportista "
    "calcula que llegará el viernes, aunque por el mal tiempo podría haber algún retraso. Si no está en casa, lo "
    "dejarán con un vecino. En cuanto a la factura, entiendo su sorpresa: el descuento solo se aplicó al segundo "
    "artículo. Ya he pedido que lo corrijan y la diferencia se le devolverá en unos días. ¿Puedo ayudarle en algo más?",
    "fr": "Merci d'avoir patienté ! J'ai regardé votre commande : elle a quitté notre entrepôt hier après-midi. Le "
    "transporteur prévoit une livraison vendredi, mais la météo pourrait la retarder. Si vous êtes absent, le colis "
    "sera remis à un voisin. Pour la facture, je comprends votre étonnement : la remise n'a été appliquée qu'au "
    "deuxième article. J'ai demandé une correction et la différence vous sera remboursée sous quelques jours.",
    "it": "Grazie per l'attesa! Ho controllato il suo ordine: è partito ieri pomeriggio dal nostro magazzino. Il "
    "corriere prevede la consegna per venerdì, ma il maltempo potrebbe causare un ritardo. Se non è in casa, il pacco "
    "verrà lasciato a un vicino. Per la fattura ha ragione: lo sconto è stato applicato solo al secondo articolo.",
    "pt": "Obrigado por aguardar! Verifiquei o seu pedido e ele saiu ontem à tarde do nosso armazém. A transportadora "
    "prevê a entrega para sexta-feira, mas o mau tempo pode causar algum atraso. Se não estiver em casa, a encomenda "
    "fica com um vizinho. Quanto à fatura, tem razão: o desconto só foi aplicado ao segundo artigo.",
    "zh": "感谢您的耐心等待！我查看了您的订单，昨天下午已经从仓库发出。快递公司预计星期五送达，不过因为天气原因"
    "可能会有延误。如果您不在家，包裹会放在邻居那里。关于账单，我明白您的疑问：折扣只用在了第二件商品上。"
    "我已经请财务同事更正，差额会在几天内退还给您。",
    "hi": "प्रतीक्षा के लिए धन्यवाद! मैंने आपका ऑर्डर देखा है, वह कल दोपहर हमारे गोदाम से निकल चुका है। कूरियर के अनुसार वह "
    "शुक्रवार तक पहुँच जाएगा, लेकिन मौसम के कारण थोड़ी देर हो सकती है।",
}
DIGITS: Final = (
    "Order 48213 of 3 May 2024, 14:30: 2 x 1,249.90 = 2,499.80 EUR, 12.5 % off. Items 100234, 100871 and 204417, lot "
    "20240503-77. Version 10.2.3, build 20481. Tariff 4 from 01.06.2024 to 31.12.2025 at 19.99 a month, 24 months. "
    "Meter 7734 0021 3381, reading 004512 on 2024-05-01 and 004871 on 2024-06-01. Parcel 1Z999AA10123456784, weight "
    "2.450 kg, 30 x 20 x 15 cm. Invoice 2024/003371: 45,20 + 8,59 = 53,79. Room 12-4, floor 3, phone ext. 4417. "
)
DATA: Final = (
    "I have j.smith42@example.com and +44 20 7946 0123 on file, and the card 4111 1111 1111 1111. Your account is DE89 "
    "3704 0044 0532 0130 00, date of birth: 12/05/1985, passport no. 123456789. Is 536-22-1234 still right? The last "
    "sign-in was from 93.184.216.34. You can also write to support@example.org or call (212) 555-0142. "
)
_MARKED: Final = (
    "## Your order\n\nIt left our **warehouse** yesterday. The carrier says:\n\n- by *Friday*, or\n- by Monday, where "
    "the weather is bad\n\n1. Open [your account](https://shop.example.com/account) and choose **Orders**.\n2. Press "
    "`Track`, then _Details_.\n\n| Item | Price |\n|---|---|\n| Cable | 4 |\n| Router | 59 |\n\n> You don't have to do "
    "anything; we'll send a message.\n\nThe ~~old~~ new invoice is in ***your mailbox***. A product of 2*3 stays.\n"
)
MARKDOWN: Final = (_MARKED, *PROSE.values())

_TEN: Final = ("card", "iban", "email", "phone", "us_ssn", "ipv4", "birth_date", "passport", "jwt", "api_key")
TEN_RULES: Final = tuple(RULES[name] for name in _TEN)
ALL_RULES: Final = tuple(RULES.values())
_OWN: Final = {
    "order": r"(?<![A-Za-z0-9])(?:ORD|BST|PED)-\d{5,9}(?!\d)",
    "customer": r"(?<![A-Za-z0-9])[CK]\d{8}(?![A-Za-z0-9])",
    "meter": r"(?<!\d)1[A-Z]{3}\d{10}(?!\d)",
    "contract": r"\b\d{2}/\d{4}/\d{6}\b",
    "policy": r"(?<![A-Za-z])P[LH]-\d{3}-\d{3}-[A-Z]{2}",
    "ticket": r"#[A-Z]{2,4}-\d{4,8}(?!\d)",
    "plate": r"(?<![A-Za-z])[A-Z]{1,3}-[A-Z]{1,2} \d{1,4}(?!\d)",
    "password": r"[Pp]assword(?: is)?: ?[^ \n]{6,32}",
    "postcode": r"(?<![A-Za-z0-9])[A-Z]{1,2}\d{1,2}[A-Z]? \d[A-Z]{2}(?![A-Za-z0-9])",
}


def fifty_rules() -> tuple[Rule, ...]:
    """Return all rules that ship, and as many of a company's own as make fifty."""
    own = (Rule(name, pattern) for name, pattern in _OWN.items())
    return (*ALL_RULES, *itertools.islice(own, 50 - len(ALL_RULES)))


def terms(count: int = 10_000) -> Terms:
    """Return so many made-up names of products and people, half of which begin as the words of the prose do."""
    random = Random(1)
    known = sorted({word[:5] for text in PROSE.values() for word in text.split() if word[:5].isalpha()})
    syllables = [first + vowel for first in "bdfgklmnprstvz" for vowel in ("a", "e", "i", "o", "u", "ei", "on")]
    words: dict[str, None] = {}
    while len(words) < count:
        end = "".join(random.choices(syllables, k=random.randint(2, 3)))
        begin = random.choice(known) if len(words) % 2 else random.choice(syllables)
        second = f" {random.choice(syllables)}{end}" if random.randrange(5) == 0 else ""
        words[begin + end + second] = None
    return Terms("term", tuple(words))


_SIZE: Final = 2_000
_MOST_REPEATS: Final = 40


def adversarial() -> dict[str, str]:
    """Return texts that begin matches and never end them, and texts whose matches are all rejected, by name."""
    found = {
        "no-sign": "a.b-c_d+e" * (_SIZE // 9),
        "half-address": "a@" * (_SIZE // 2),
        "long-host": "a" * 60 + "@" + "b." * (_SIZE // 2),
        "sk-sk-sk": "sk-" * (_SIZE // 3),
        "digits": "4" * _SIZE,
        "digit-groups": "4111 1111 1111 1112 " * (_SIZE // 20),
        "phone-groups": "+49 30 (1) 2-3/4." * (_SIZE // 17),
        "dots": "1.1." * (_SIZE // 4),
        "invisible": "1\u200b" * (_SIZE // 2),
        "noise": "".join(Random(1).choices("0123456789 -.@:+/", k=_SIZE)),
    }
    for rule in ALL_RULES:
        match = _match(Random(rule.name), parse(rule.pattern, ignore_case=rule.ignore_case).body)
        found |= {f"{rule.name}, not ended": _filled(match[:-1]), f"{rule.name}, again and again": _filled(match + " ")}
    return found


def _filled(text: str) -> str:
    return (text * (_SIZE // len(text) + 1))[:_SIZE]


def _match(random: Random, node: Node) -> str:
    """Make a long text that a pattern's body matches."""
    if isinstance(node, Chars):
        return _char(random, node.chars)
    if isinstance(node, Choice):
        return max((_match(random, item) for item in node.items), key=len)
    if isinstance(node, Repeat):
        most = max(node.least, _MOST_REPEATS) if node.most is None else max(node.least, min(node.most, _MOST_REPEATS))
        return "".join(_match(random, node.item) for _ in range(most))
    return "".join(_match(random, item) for item in node.items)


def _char(random: Random, chars: CharSet) -> str:
    if not chars.negated:
        first, last = random.choice(chars.ranges)
        return chr(random.randint(first, min(last, first + 25)))
    taken = [code for first, last in chars.ranges for code in range(first, last + 1)]
    return chr(next(code for code in range(ord(" "), MAX_CODE) if code not in taken))
