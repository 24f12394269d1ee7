"""A tail of a turn in a journal that goes on: all of its records, each once, whatever happens to the files."""

from __future__ import annotations

import pytest

from stores.disks import FaultyDisk
from stores.writing import SMALL, beginning, end, key, more, path_of, text_of, whole_turn
from trunkline.stores.files import Disk
from trunkline.stores.journal import Journal, segment_of
from trunkline.stores.segment import HEADER_BYTES
from trunkline.stores.tail import Tail


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path, FaultyDisk(), segment_bytes=SMALL)
    journal.begin()
    yield journal
    journal.end()


@pytest.fixture
def tail(tmp_path):
    return Tail(Journal(tmp_path, Disk()), key(1))


def test_each_look_takes_what_came_since_the_last_and_no_other_turns_records(journal, tail):
    assert list(tail.places()) == []
    first = journal.append([beginning(1, "a"), whole_turn(2, "no")])[:1]
    assert list(tail.places()) == first
    assert list(tail.places()) == first
    places = first + journal.append([more(1, "b", first=3)]) + journal.append([end(1, first=4)])
    assert list(tail.places()) == places
    assert text_of(journal.read(tail.places())) == "ab"


def test_what_was_read_is_not_read_again(journal, tail, tmp_path):
    journal.append([beginning(1, "a")])
    [place] = tail.places()
    with path_of(tmp_path, journal.number).open("r+b") as file:  # Would it look there again, it would stop there.
        file.seek(HEADER_BYTES)
        file.write(b"\xff" * 8)
    [after] = journal.append([more(1, "b", first=3)])
    assert list(tail.places()) == [place, after]


def test_it_goes_on_in_the_next_segments_also_where_several_came_between_two_looks(journal, tail):
    places = journal.append([beginning(1, "a")])
    assert list(tail.places()) == places
    offset = 3
    for looks in (False, True, False, False, True):
        number = journal.number
        while journal.number == number:
            places += journal.append([more(1, "x" * 200, first=offset)])
            offset += 1
        if looks:
            assert list(tail.places()) == places
    assert len({segment_of(place) for place in tail.places()}) == 6
    assert list(tail.places()) == places


def test_a_spare_segment_is_not_taken_for_the_one_that_is_written(journal, tail, tmp_path):
    places = journal.append([beginning(1, "x" * (SMALL // 2))])
    journal.prepare()
    assert journal.segments() == [1, 2]
    for offset in range(3, 40):
        assert list(tail.places()) == places
        places += journal.append([more(1, "y" * 100, first=offset)])
        journal.prepare()
    assert list(tail.places()) == places
    assert len({segment_of(place) for place in places}) > 2


def test_a_segment_that_is_not_laid_out_yet_is_one_without_records(journal, tail, tmp_path):
    places = journal.append([beginning(1, "a")])
    path_of(tmp_path, journal.number + 1).touch()
    assert list(tail.places()) == places
    path_of(tmp_path, journal.number + 1).unlink()
    journal.begin()
    places += journal.append([end(1, first=3)])
    assert list(tail.places()) == places


def test_what_is_written_between_the_looks_at_two_segments_leaves_no_hole(journal, tmp_path):
    class Late(Journal):
        """Between the looks at two segments the writer goes on in both."""

        def read_on(self, segment, at, before, records):
            looked = super().read_on(segment, at, before, records)
            if journal.number == 1:
                places.extend(journal.append([more(1, "b", first=3)]))
                journal.begin()
                places.extend(journal.append([end(1, first=4)]))
            return looked

    places = journal.append([beginning(1, "a" * (SMALL // 2))])
    journal.prepare()
    tail = Tail(Late(tmp_path, Disk()), key(1))
    assert list(tail.places()) == places[:2]
    assert list(tail.places()) == places
    assert [segment_of(place) for place in places] == [1, 1, 2]


def test_behind_damage_it_goes_on_once_the_segment_is_full(journal, tail, tmp_path):
    first, broken, third = (
        journal.append([batch])[0] for batch in (beginning(1), more(1, "b", first=2), more(1, "c", first=3))
    )
    with path_of(tmp_path, journal.number).open("r+b") as file:
        file.seek((broken & 0xFFFF) + 20)
        file.write(b"\xff" * 8)
    assert list(tail.places()) == [first]
    journal.begin()
    [last] = journal.append([end(1, first=4)])
    assert list(tail.places()) == [first, third, last]


def test_a_record_that_is_written_at_this_moment_is_read_at_the_next_look(journal, tail, tmp_path):
    first, second = (journal.append([batch])[0] for batch in (beginning(1), more(1, "b", first=2)))
    path = path_of(tmp_path, journal.number)
    whole = path.read_bytes()
    for cut in range((second & 0xFFFF) + 1, whole.rindex(b"]") + 1):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        assert list(tail.places()) == [first]
    path.write_bytes(whole)
    assert list(tail.places()) == [first, second]


def test_segments_that_go_meanwhile_are_no_fault(journal, tail, tmp_path):
    [first] = journal.append([beginning(1, "a")])
    tail.places()
    old = journal.number
    journal.begin()
    [second] = journal.append([more(1, "b", first=3)])
    journal.drop(old)
    assert list(tail.places()) in ([second], [first, second])
    for path in tmp_path.glob("*.journal"):
        path.unlink()
    tail.places()
