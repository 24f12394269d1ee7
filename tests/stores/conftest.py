"""A journal on a disk that may fail, and a house at level `disk` whose syncs the test steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stores.disks import FaultyDisk
from stores.houses import House
from stores.writing import SMALL
from trunkline.stores.journal import Journal


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def journal(tmp_path: Path, disk: FaultyDisk) -> Iterator[Journal]:
    journal = Journal(tmp_path, disk, segment_bytes=SMALL)
    journal.begin()
    yield journal
    disk.is_mended()
    journal.end()


@pytest.fixture
async def synced(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path, durability="disk") as house:
        house.syncer.held = True
        yield house
