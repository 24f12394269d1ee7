"""Texts with planted personal data and where it is: seeded, made up, check digits computed, never anybody's."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import date, timedelta
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Final

from stdnum import luhn, verhoeff
from stdnum.br import cnpj
from stdnum.es import dni, nie
from stdnum.iso7064 import mod_11_10, mod_97_10
from stdnum.it import codicefiscale

LANGUAGES: Final = ("en", "de", "es", "fr")
PER_TEXT: Final = 4

Maker = Callable[[Random], str]

# What a contact-centre bot says when it says nothing about anyone.
PROSE: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "Thank you for waiting, I have found your request and I am looking at it now.",
        "The parcel left our warehouse on Tuesday and should be with you within three working days.",
        "If the light on the router stays red, please unplug it for thirty seconds and try again.",
        "A refund takes between five and seven days, depending on how quickly your bank books it.",
        "I'm sorry that the technician didn't show up; let's find another appointment that suits you.",
        "You can change the tariff at the end of any month, there is no fee for that.",
        "Our shop on the corner has been closed since last summer, the next one is a ten-minute walk away.",
        "Is there anything else that I can do for you today?",
    ),
    "de": (
        "Vielen Dank für Ihre Geduld, ich habe Ihr Anliegen gefunden und sehe es mir gerade an.",
        "Das Paket hat unser Lager am Dienstag verlassen und sollte in drei Werktagen bei Ihnen sein.",
        "Wenn die Lampe am Gerät rot bleibt, ziehen Sie bitte für dreißig Sekunden den Stecker.",
        "Die Erstattung dauert fünf bis sieben Tage, je nachdem, wie schnell Ihre Bank bucht.",
        "Es tut mir leid, dass der Techniker nicht gekommen ist; wir finden einen neuen Termin.",
        "Sie können den Tarif zum Ende jedes Monats wechseln, das kostet nichts.",
        "Unser Geschäft an der Ecke ist seit dem Sommer geschlossen, das nächste ist zehn Minuten entfernt.",
        "Kann ich heute sonst noch etwas für Sie tun?",
    ),
    "es": (
        "Gracias por su paciencia, he encontrado su solicitud y la estoy revisando ahora mismo.",
        "El paquete salió de nuestro almacén el martes y debería llegar en tres días laborables.",
        "Si la luz del aparato sigue en rojo, desenchúfelo treinta segundos y vuelva a probar.",
        "El reembolso tarda entre cinco y siete días, según lo que tarde su banco.",
        "Siento que el técnico no haya venido; busquemos otra cita que le convenga.",
        "Puede cambiar de tarifa al final de cada mes, sin ningún coste.",
        "Nuestra tienda de la esquina está cerrada desde el verano, la siguiente está a diez minutos.",
        "¿Puedo ayudarle en algo más?",
    ),
    "fr": (
        "Merci de votre patience, j'ai trouvé votre demande et je suis en train de la regarder.",
        "Le colis a quitté notre entrepôt mardi et devrait arriver d'ici trois jours ouvrés.",
        "Si le voyant de l'appareil reste rouge, débranchez-le trente secondes et réessayez.",
        "Le remboursement prend de cinq à sept jours, selon la rapidité de votre banque.",
        "Je suis désolé que le technicien ne soit pas venu ; trouvons un autre rendez-vous.",
        "Vous pouvez changer de tarif à la fin de chaque mois, c'est gratuit.",
        "Notre boutique du coin est fermée depuis l'été, la suivante est à dix minutes à pied.",
        "Puis-je faire autre chose pour vous aujourd'hui ?",
    ),
}

# Round a value; `{}` is the label, where the rule needs one, and the value.
SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "en": ("I have {} on file.", "Is {} still right?", "Thank you, {}, that is noted.", "We use this: {}", "({})"),
    "de": (
        "Bei mir steht {} im System.",
        "Ist {} noch richtig?",
        "Danke, {}, das ist notiert.",
        "Wir nehmen {}",
        "({})",
    ),
    "es": ("Aquí consta {} en la ficha.", "¿Sigue siendo {} correcto?", "Gracias, {}, anotado.", "Usamos {}", "({})"),
    "fr": (
        "Je vois {} dans le dossier.",
        "Est-ce que {} est correct ?",
        "Merci, {}, c'est noté.",
        "Voici : {}",
        "({})",
    ),
}
LABELS: Final[dict[str, dict[str, str]]] = {
    "birth_date": {
        "en": "date of birth: ",
        "de": "Geburtsdatum: ",
        "es": "fecha de nacimiento: ",
        "fr": "date de naissance : ",
    },
    "passport": {"en": "passport no. ", "de": "Reisepass-Nr. ", "es": "pasaporte n.º ", "fr": "passeport n° "},
    "uk_nhs": dict.fromkeys(LANGUAGES, "NHS "),
    "aws_secret_key": dict.fromkeys(LANGUAGES, "aws_secret_access_key = "),
    "bearer_token": dict.fromkeys(LANGUAGES, "Bearer "),
    "api_key": dict.fromkeys(LANGUAGES, "api_key="),
}

_BASE64_URL: Final = string.ascii_letters + string.digits + "-_"
_CARDS: Final = (("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("3528", 16), ("36", 14), ("6759", 18))
_IBANS: Final = (
    ("DE", "n18"),
    ("ES", "n20"),
    ("FR", "n23"),
    ("GB", "a4 n14"),
    ("IT", "a1 n22"),
    ("NL", "a4 n10"),
    ("PT", "n21"),
)
_PHONES: Final = (
    "(212) 555-01##", "415-555-01##", "1-617-555-01##", "312.555.01##", "+1 202 555 01##",
    "020 7946 0###", "07700 900###", "+44 20 7946 0###", "0161 496 0###",
    "030 23125###", "0171 39200##", "+49 30 23125###", "089/99998###",
    "01 99 00 ## ##", "06.39.98.##.##", "+33 1 99 00 ## ##",
    "612 34# ###", "91 234 ## ##", "+34 612 34# ###",
    "333 123 4###", "06 1234 5###", "+39 333 123 4###",
    "(11) 91234-5###", "11 3123-4###", "+55 11 91234-5###",
    "98765 43###", "022 2345 6###", "+91 98765 43###",
)  # fmt: skip
_MAILBOXES: Final = ("anna", "j.smith", "maria+shop", "o'neil", "support_team", "x", "léa.dupré")
_DOMAINS: Final = ("example.com", "mail.example.co.uk", "beispiel.example", "a.b.example.org")


def planted(seed: int, language: str) -> tuple[str, list[tuple[str, int, int]]]:
    """Return prose in a language with four planted values, and the rule, start and end of each.

    Consecutive seeds go through all rules.
    """
    random = Random(f"{seed} {language}")
    names = list(MAKERS)
    text = ""
    places = []
    for turn in range(PER_TEXT):
        rule = names[(seed * PER_TEXT + turn) % len(names)]
        before, after = random.choice(SENTENCES[language]).split("{}")
        text += random.choice(PROSE[language]) + " " + before + LABELS.get(rule, {}).get(language, "")
        value = MAKERS[rule](random)
        places.append((rule, len(text), len(text) + len(value)))
        text += value + after + random.choice((" ", "\n\n"))
    return text + random.choice(PROSE[language]), places


def prose(seed: int, language: str) -> str:
    """Return prose in a language with nothing planted in it."""
    return " ".join(Random(f"{seed} {language}").sample(PROSE[language], len(PROSE[language])))


def _digits(random: Random, count: int) -> str:
    return "".join(random.choices(string.digits, k=count))


def _of(alphabet: str, count: int) -> Maker:
    return lambda random: "".join(random.choices(alphabet, k=count))


def _after(prefix: str, alphabet: str, count: int) -> Maker:
    """A prefix, then characters drawn by lot, a digit among them."""
    return lambda random: prefix + _of(alphabet, count - 1)(random) + random.choice(string.digits)


def _fill(random: Random, form: str) -> str:
    """Replace each `#` by a digit."""
    return "".join(random.choice(string.digits) if char == "#" else char for char in form)


def _groups(text: str, *sizes: int, by: str = " ") -> str:
    """Cut a text into groups; the last size repeats."""
    groups = []
    while text:
        size = sizes[min(len(groups), len(sizes) - 1)]
        groups.append(text[:size])
        text = text[size:]
    return by.join(groups)


def _birthday(random: Random) -> date:
    return date(1940, 1, 1) + timedelta(days=random.randrange(60 * 365))


def card(random: Random) -> str:
    prefix, length = random.choice(_CARDS)
    body = prefix + _digits(random, length - len(prefix) - 1)
    number = body + luhn.calc_check_digit(body)
    sizes = (4, 6, 5) if length in {14, 15} else (4,)
    return random.choice((number, _groups(number, *sizes), _groups(number, *sizes, by="-")))


def iban(random: Random) -> str:
    country, structure = random.choice(_IBANS)
    alphabets = {"n": string.digits, "a": string.ascii_uppercase}
    account = "".join(_of(alphabets[part[0]], int(part[1:]))(random) for part in structure.split())
    number = country + mod_97_10.calc_check_digits(account + country) + account
    return random.choice((number, _groups(number, 4)))


def birth_date(random: Random) -> str:
    form = random.choice(("%d.%m.%Y", "%d/%m/%Y", "%Y-%m-%d", "%d-%m-%y"))
    return _birthday(random).strftime(form)


def us_ssn(random: Random) -> str:
    area = random.choice((random.randrange(1, 666), random.randrange(667, 900)))
    separator = random.choice("- ")
    return separator.join((f"{area:03}", f"{random.randrange(1, 100):02}", f"{random.randrange(1, 10000):04}"))


def us_itin(random: Random) -> str:
    return f"9{_digits(random, 2)}-{random.randrange(70, 89)}-{_digits(random, 4)}"


def br_cpf(random: Random) -> str:
    number = str(random.randrange(1, 9)) + _digits(random, 7) + "9"
    for _ in range(2):
        weighted = sum(weight * int(digit) for weight, digit in zip(range(len(number) + 1, 1, -1), number, strict=True))
        number += str(-weighted % 11 % 10)
    return random.choice((number, f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"))


def br_cnpj(random: Random) -> str:
    root = _digits(random, 8)
    number = root + "0001"
    check = cnpj.calc_check_digits(number)
    return random.choice((number + check, f"{root[:2]}.{root[2:5]}.{root[5:]}/0001-{check}"))


def uk_nino(random: Random) -> str:
    number = random.choice(("AB", "CE", "JK", "WM")) + _digits(random, 6) + random.choice("ABCD")
    return random.choice((number, _groups(number, 2)))


def uk_nhs(random: Random) -> str:
    while True:
        number = _digits(random, 9)
        check = -sum(weight * int(digit) for weight, digit in zip(range(10, 1, -1), number, strict=True)) % 11
        if check < 10:
            return random.choice((f"{number}{check}", f"{number[:3]} {number[3:6]} {number[6:]}{check}"))


def de_tax_id(random: Random) -> str:
    digits = random.sample(string.digits, 9)
    digits.append(random.choice(digits))
    while digits[0] == "0":
        random.shuffle(digits)
    number = "".join(digits)
    number += mod_11_10.calc_check_digit(number)
    return random.choice((number, _groups(number, 2, 3)))


def es_dni(random: Random) -> str:
    number = _digits(random, 8)
    return number + random.choice(("", "-")) + dni.calc_check_digit(number)


def es_nie(random: Random) -> str:
    number = random.choice("XYZ") + _digits(random, 7)
    return number + nie.calc_check_digit(number)


def fr_nir(random: Random) -> str:
    born = _birthday(random)
    place = random.choice(("75", "13", "2A", "2B", "97"))
    number = random.choice("12") + born.strftime("%y%m") + place + _digits(random, 6)
    plain = number.replace("2A", "19") if place == "2A" else number.replace("2B", "18")
    number += f"{97 - int(plain) % 97:02}"
    return random.choice((number, _groups(number, 1, 2, 2, 2, 3, 3, 2)))


def it_codice_fiscale(random: Random) -> str:
    born = _birthday(random)
    day = born.day + random.choice((0, 40))
    month = "ABCDEHLMPRST"[born.month - 1]
    code = f"{_of('BCDFGLMNPRSTV', 6)(random)}{born:%y}{month}{day:02}{random.choice('ABFGHL')}{_digits(random, 3)}"
    return code + codicefiscale.calc_check_digit(code)


def in_aadhaar(random: Random) -> str:
    number = str(random.randrange(2, 10)) + _digits(random, 10)
    number += verhoeff.calc_check_digit(number)
    return _groups(number, 4)


def in_pan(random: Random) -> str:
    letters = _of(string.ascii_uppercase, 3)(random) + "P" + random.choice(string.ascii_uppercase)
    return f"{letters}{random.randrange(1, 10000):04}{random.choice(string.ascii_uppercase)}"


def cn_resident_id(random: Random) -> str:
    number = random.choice(("110105", "310104", "440305")) + _birthday(random).strftime("%Y%m%d") + _digits(random, 3)
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number))
    return number + "10X98765432"[total % 11]


def email(random: Random) -> str:
    return f"{random.choice(_MAILBOXES)}{random.randrange(100)}@{random.choice(_DOMAINS)}"


def passport(random: Random) -> str:
    return random.choice(
        (_digits(random, 9), "C" + _digits(random, 8), "AAA" + _digits(random, 6), "YA" + _digits(random, 7))
    )


def private_key(random: Random) -> str:
    kind = random.choice(("", "RSA ", "EC "))
    lines = [_of(string.ascii_letters + string.digits + "+/", 64)(random) for _ in range(random.randrange(3, 12))]
    return "\n".join((f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"))


def jwt(random: Random) -> str:
    parts = (_of(_BASE64_URL, size)(random) for size in (20, 60, 43))
    header, claims, signature = parts
    return f"eyJ{header}.eyJ{claims}.{signature}"


MAKERS: Final[dict[str, Maker]] = {
    "aws_access_key": _after("AKIA", string.ascii_uppercase, 16),
    "aws_secret_key": _after("", string.ascii_letters + string.digits + "+/", 40),
    "github_token": _after("ghp_", string.ascii_letters + string.digits, 36),
    "openai_key": _after("sk-proj-", string.ascii_letters + string.digits, 48),
    "stripe_key": _after("sk_live_", string.ascii_letters + string.digits, 24),
    "slack_token": _after("xoxb-", string.ascii_letters + string.digits, 40),
    "google_key": _after("AIza", _BASE64_URL, 35),
    "jwt": jwt,
    "private_key": private_key,
    "bearer_token": _after("", string.ascii_letters + string.digits, 32),
    "api_key": _after("", string.ascii_letters + string.digits, 32),
    "card": card,
    "iban": iban,
    "email": email,
    "ipv4": lambda random: str(IPv4Address(random.randrange(0x0B000001, 0x7EFFFFFF) | 1)),
    "ipv6": lambda random: str(IPv6Address((0x20010DB8 << 96) | random.getrandbits(64))),
    "birth_date": birth_date,
    "passport": passport,
    "in_aadhaar": in_aadhaar,
    "in_pan": in_pan,
    "cn_resident_id": cn_resident_id,
    "us_ssn": us_ssn,
    "us_itin": us_itin,
    "br_cpf": br_cpf,
    "br_cnpj": br_cnpj,
    "phone": lambda random: _fill(random, random.choice(_PHONES)),
    "uk_nino": uk_nino,
    "uk_nhs": uk_nhs,
    "de_tax_id": de_tax_id,
    "es_dni": es_dni,
    "es_nie": es_nie,
    "fr_nir": fr_nir,
    "it_codice_fiscale": it_codice_fiscale,
}
"""For every rule that takes something away, a maker of values it must find."""
