"""Background tasks are held, reported when they fail, and gone after close."""

from __future__ import annotations

import asyncio

from trunkline.tasks import Tasks
from trunkline.telemetry import Telemetry


async def test_close_cancels_what_runs_and_waits_for_it():
    tasks, ended = Tasks(Telemetry()), []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    for _ in range(3):
        tasks.spawn(forever(), "forever")
    await tasks.idle()
    await tasks.close()
    assert ended == [1, 1, 1]


async def test_one_that_fails_is_reported_without_its_words(caplog):
    telemetry = Telemetry()
    tasks = Tasks(telemetry)

    async def fail() -> None:
        raise ValueError("hunter2")

    task = tasks.spawn(fail(), "failing")
    await asyncio.wait([task])
    await tasks.idle()
    assert b'trunkline_internal_errors_total{where="failing"} 1.0' in telemetry.exposition()
    assert "hunter2" not in caplog.text
    await tasks.close()
