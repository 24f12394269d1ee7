"""Nothing of three thousand texts is shown, and the report would say so if it were."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.plain_filters import PerDelta, PlainRules, Window
from leaks.measure import Plain, feed_all, shown_of, streamed
from leaks.page import OTHERS, mean, page, percentile
from leaks.report import other_filters, run, the_guard
from trunkline.guard_trial import cut
from trunkline.guards.rules import RULES
from trunkline.guards.settings import GuardSettings

CARD = "Card 4111 1111 1111 1111, thanks."
PLACE = ("card", 5, 24)


@pytest.mark.timeout(120)
def test_of_three_thousand_texts_no_character_is_shown_and_none_depends_on_its_cut():
    tally = run(3_000, 0, the_guard(), {})
    assert tally.leaks == []
    assert tally.differing["guard"] == 0
    assert tally.mistaken == 0
    for how in ("whole", "tokens", "chars", "random"):
        sums = tally.sums["guard", how, "all"]
        assert (sums.values, sums.shown) == (12_000, 0)
        assert sums.missed <= 12, tally.missed
    ordinary = sum((delay.waited for delay in tally.ordinary.values()), Counter())
    assert mean(ordinary) < 2
    assert max(ordinary) <= 8


def test_simpler_filters_leak_and_the_page_says_how_much():
    tally = run(12, 12, the_guard(), other_filters())
    shown = {name: tally.sums[name, "tokens", "compared"].shown for name in ("guard", *OTHERS)}
    chars = tally.sums["guard", "tokens", "compared"].chars
    assert shown["guard"] == shown["the whole answer at its end"] == 0
    assert 0 < shown["window of 128"] < shown["window of 64"] < shown["each delta alone"] <= chars
    assert tally.differing["each delta alone"] == 12
    written = page(tally)
    assert "**0 of " in written
    assert f"{shown['window of 64']:,} of {chars:,}" in written
    assert written == page(run(12, 12, the_guard(), other_filters()))


def test_a_guard_without_a_rule_is_found_out():
    tally = run(40, 0, the_guard(GuardSettings(actions={"email": "off"})), {})
    emails = tally.sums["guard", "tokens", "email"]
    assert emails.missed == emails.values > 0
    assert len(tally.missed) == 4 * emails.missed
    assert all("characters of email" in line for line in tally.missed)
    assert tally.leaks == []
    assert f"| `email` | {emails.values} | {emails.missed} | 0.00 % | 0 |" in page(tally)


def test_a_guard_that_looks_at_each_delta_alone_is_found_out():
    tally = run(12, 0, other_filters()["each delta alone"], {})
    assert tally.missed == []
    assert tally.leaks
    assert not [line for line in tally.leaks if line.startswith("whole")]
    assert tally.differing["guard"] == 12


def test_each_character_that_is_shown_is_counted():
    screen = the_guard()()
    feed_all(screen, [CARD])
    assert screen.output == "Card [CARD], thanks."
    assert [shown_of(place, screen.masked) for place in (PLACE, ("", 4, 24), ("", 5, 25), ("", 0, 5))] == [0, 1, 1, 5]


def test_a_filter_that_changes_more_than_it_reports_is_found_out():
    class Shouting(PerDelta):
        def feed(self, text):
            return super().feed(text).upper()

    with pytest.raises(AssertionError, match="than is reported"):
        feed_all(Plain(Shouting(PlainRules(()))), ["ab"])


def test_characters_wait_for_the_deltas_between_coming_and_leaving():
    window = Plain(Window(PlainRules(()), 3))
    delay = streamed(window, ["ab", "cd", "e", "fgh"]).delay
    assert delay.held == Counter({2: 1, 3: 3})
    assert delay.waited == Counter({1: 5, 2: 2, 3: 1}) - Counter({3: 1}) + Counter({2: 1})


def test_a_window_finds_what_is_shorter_than_itself_and_loses_what_is_longer():
    rules = PlainRules(tuple(RULES.values()))

    def shown(plain, how):
        screen = Plain(plain)
        feed_all(screen, cut(CARD, how))
        return shown_of(PLACE, screen.masked), screen.output

    for size in (24, 64):
        for how in ("chars", "tokens", "random"):
            assert shown(Window(rules, size), how) == (0, "Card [CARD], thanks.")
    assert shown(Window(rules, 10), "chars")[0] > 0
    assert shown(PerDelta(rules), "tokens") == (19, CARD)


def test_percentiles_are_by_nearest_rank():
    counts = Counter({1: 90, 5: 9, 7: 1})
    assert [percentile(counts, percent) for percent in (50, 90, 95, 99, 100)] == [1, 1, 5, 5, 7]
    assert percentile(Counter(), 95) == 0
    assert mean(Counter({2: 1, 4: 1})) == 3
