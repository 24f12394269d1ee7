"""The built-in texts: answers as a contact centre gives them, each with something that a relay may get wrong."""

# ruff: noqa: RUF001 - French has its own apostrophe

from __future__ import annotations

_ORDER = """\
Thank you for waiting. I have found your order 482913 from the third of March, and I can see that it left our \
warehouse in Rotterdam on Tuesday evening.

It was split into two parcels because the desk lamp was stored at another site. The first parcel, with the chair and \
the two cushions, was handed to the carrier yesterday and should reach you on Thursday between nine and one o'clock. \
The second one, with the lamp, follows a day later; you do not have to do anything for it, and there is no extra \
charge for the second delivery.

If nobody is at home, the driver leaves a card and takes the parcel to the nearest collection point, where it is kept \
for seven days. You may also name a neighbour, or a safe place, in the tracking page that was sent to you by e-mail.

Is there anything else I can do for you today? If the chair does not suit you, you can send it back within thirty \
days, and we will refund the full price, including what you paid for delivery.
"""

# Only values that their owners publish for tests and examples: no such card, account, mailbox or person exists.
_CARDS = """\
I have opened your profile. The order was paid with the card 4111 1111 1111 1111, and the refund of 49.90 goes back to \
the same card within five working days.

You also have a second card, 5555-5555-5555-4444, and a third one, 378282246310005, which has expired. For payments by \
bank transfer we have the account GB82 WEST 1234 5698 7654 32 and, for orders in euro, DE89370400440532013000.

We will write to jane.doe@example.com as soon as the refund is booked. If that address is no longer right, call us on \
+1 (202) 555-0143 or, from the United Kingdom, on 020 7946 0958. For your safety the agent will ask for the last four \
digits of your social security number; on file is 078-05-1120.

Please note that the order number 4829130000001234 and the tracking number 1Z 999 AA1 01 2345 6784 are no card numbers.
"""

_MARKDOWN = """\
## Resetting your router

Before you begin, **unplug the router** and wait for *ten seconds*. This clears ***most*** faults; see the
[guide to the lights](https://support.example.com/router/lights?model=X2&lang=en#power) for what they mean.

1. Press and hold the **Reset** button.
2. Wait until the light turns `amber`.
3. Let go, and open <https://router.example.com>.
   - User name: `admin`
   - Password: on the label, under __Key__

> Your own settings are lost. ~~Write them down.~~ Save them first:

```python
def save(path: str) -> None:
    settings = router.read("*")  # not a list item
    print(f"saved {len(settings)} settings to {path}")
```

| Light | Meaning  |
|-------|----------|
| green | all well |
| amber | starting |

- [x] Reset
- [ ] Restore

Does **that** help? 2 * 3 * 4 is 24, and snake_case_names are not emphasis.
"""

_UNICODE = (
    "Hello Zo\u00eb, and hello Zoe\u0308! \U0001f44b\U0001f3fd Your family plan "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 is active \u2705, the flag on your account is "
    "\U0001f1f3\U0001f1f1 and your heart is \u2764\ufe0f\u200d\U0001f525.\n\n"
    "\u4e2d\u6587\uff1a\u60a8\u7684\u8ba2\u5355\u5df2\u7ecf\u53d1\u8d27\uff0c\u9884\u8ba1\u660e\u5929\u9001\u8fbe\u3002"
    "\u65e5\u672c\u8a9e\uff1a\u3054\u6ce8\u6587\u3042\u308a\u304c\u3068\u3046\u3054\u3056\u3044\u307e\u3059\u3002"
    "\ud55c\uad6d\uc5b4: \uc8fc\ubb38\uc774 \uc644\ub8cc\ub418\uc5c8\uc2b5\ub2c8\ub2e4.\n\n"
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629: \u062a\u0645 \u0634\u062d\u0646 \u0637\u0644\u0628\u0643 \u0631\u0642"
    "\u0645 \u0661\u0662\u0663\u060c \u0634\u0643\u0631\u064b\u0627 \u0644\u0643. "
    "\u05e2\u05d1\u05e8\u05d9\u05ea: \u05ea\u05d5\u05d3\u05d4.\n\n"
    "Ti\u1ebfng Vi\u1ec7t: c\u1ea3m \u01a1n. Combining: e\u0301 a\u030a\u0323 q\u0307\u0323. "
    "\u0939\u093f\u0928\u094d\u0926\u0940: \u0928\u092e\u0938\u094d\u0924\u0947. "
    "Outside the first plane: \U0001d4d0\U0001d4d1\U0001d4d2 \U00020bb7\U00029e3d \U00010437. "
    "Hands: \U0001f9d1\u200d\U0001f4bb. "
    "Invisible: soft\u00adhyphen, zero\u200bwidth, no\u00a0break, line\u2028separator, next\u0085line.\n"
)

_NEWLINES = (
    "Line feed next:\nCarriage return next:\rBoth next:\r\nA blank line next:\n\n"
    "data: this looks like data\nid: 7\nevent: ended\nretry: 1\n: this looks like a comment\ndata: [DONE]\n\n\n"
    "data:no space\r\n\r\nevent: error\r\rid\ndata\n"
    "\n \n\t\nA tab\tand two trailing spaces  \nThe last line ends without anything"
)

_GERMAN = """\
Vielen Dank für Ihre Geduld, Frau Größmann. Ihre Bestellung über 1.249,90 € ist gestern in Köln eingetroffen und wird \
morgen zwischen 9 und 13 Uhr zugestellt.

Falls Sie nicht zu Hause sind, können Sie dem Zusteller einen Ablageort nennen, z. B. die Garage oder die Nachbarin im \
Erdgeschoß. Die Kündigung Ihres Zusatzpakets haben wir zum 31. Dezember vermerkt; eine Bestätigung geht Ihnen in den \
nächsten Tagen per Post zu.

Kann ich sonst noch etwas für Sie tun? Übrigens: Rücksendungen sind innerhalb von 30 Tagen kostenlos.
"""

_SPANISH = """\
¡Gracias por su paciencia, señora Muñoz! Su pedido salió ayer de nuestro almacén de Zaragoza y llegará el miércoles \
por la mañana, entre las 9:00 y las 13:00.

¿Prefiere otra dirección? Puede cambiarla hasta las ocho de la tarde en la página de seguimiento. El reembolso de \
49,90 € aparecerá en su cuenta en un plazo de cinco días hábiles.

Si necesita algo más, estoy a su disposición. Que tenga un buen día.
"""

_FRENCH = """\
Merci d’avoir patienté, Madame Lefèvre. Votre commande a quitté hier notre entrepôt de Nîmes ; elle vous sera livrée \
jeudi, entre 9 h et 13 h.

Souhaitez-vous modifier l’adresse ? C’est possible jusqu’à ce soir, 20 h, sur la page de suivi. Le remboursement de \
49,90 € apparaîtra sur votre relevé d’ici cinq jours ouvrés : « crédit boutique ».

Puis-je faire autre chose pour vous ? N’hésitez pas à nous écrire, nous répondons sous 24 heures.
"""

_STEPS = (
    "Please switch the device off at the wall and count to twenty before you go on.",
    "While it starts, the small light on the left blinks slowly and then stays on.",
    "You may hear a short tone; that is normal and tells you that the self test has ended well.",
    "If the display stays dark, check that the plug sits firmly and that the socket has power.",
    "Our records show that the software on your device was last updated in the spring.",
    "I have written this step down in your case, so that you do not have to repeat it to a colleague.",
    "Some customers find it easier to do this together with somebody who reads the steps aloud.",
    "Do not open the case, because that would end the guarantee, which runs for another two years.",
    "Once the page has loaded, choose the third entry of the menu and confirm it with the round key.",
    "Should the message come back, tell me its number, which stands in the lower corner of the screen.",
    "A technician can visit you on any working day, in the morning or in the late afternoon.",
)
_LONG_PARAGRAPHS = 24


def _long() -> str:
    """Give about 2,000 tokens: numbered steps, each of four sentences that no other step has in this order."""
    steps = []
    for number in range(_LONG_PARAGRAPHS):
        # 3, 5 and 7 have no factor in common with the eleven sentences, so the four are always different.
        places = (number, number + 3, number + 5, number + 7)
        sentences = " ".join(_STEPS[place % len(_STEPS)] for place in places)
        steps.append(f"Step {number + 1} of {_LONG_PARAGRAPHS}. {sentences}")
    return "\n\n".join(steps) + "\n"


TEXTS: dict[str, str] = {
    "order": _ORDER,
    "cards": _CARDS,
    "markdown": _MARKDOWN,
    "unicode": _UNICODE,
    "newlines": _NEWLINES,
    "german": _GERMAN,
    "spanish": _SPANISH,
    "french": _FRENCH,
    "short": "Hello.",
    "long": _long(),
    "empty": "",
}
