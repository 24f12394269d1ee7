"""The threads: calls in their order, no more threads than asked for, and a process that ends whatever they do."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import CancelledError, wait

import pytest

from trunkline.threads import Threads, in_thread

HANGS = """
import asyncio, threading
from trunkline.threads import Threads, in_thread

Threads(1).submit(threading.Event().wait)

async def main():
    try:
        async with asyncio.timeout(0.05):
            await in_thread(threading.Event().wait)
    except TimeoutError:
        print("given up")

asyncio.run(main())
"""


@pytest.fixture
def threads():
    threads = Threads(2)
    yield threads
    threads.shutdown(cancel_futures=True)


def test_what_is_called_comes_back_and_what_it_raises_too(threads):
    assert threads.submit(divmod, 7, 2).result(5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 7, 0).result(5)


def test_calls_of_one_thread_are_made_in_their_order():
    one, seen = Threads(1), []
    wait([one.submit(seen.append, n) for n in range(100)], 5)
    one.shutdown()
    assert seen == list(range(100))


def test_there_are_no_more_threads_than_asked_for_and_an_idle_one_is_used_again(threads):
    names = {threads.submit(threading.get_ident).result(5) for _ in range(20)}
    both = threading.Barrier(3)
    waiting = [threads.submit(both.wait, 5) for _ in range(2)]
    third = threads.submit(int)
    assert not third.done()
    both.wait(5)
    assert third.result(5) == 0
    wait(waiting, 5)
    assert len(names) <= 2
    assert len(threads._threads) == 2


def test_what_is_not_called_yet_may_be_cancelled_and_nothing_is_taken_afterwards():
    one, begun, go = Threads(1), threading.Event(), threading.Event()
    running = one.submit(lambda: begun.set() or go.wait(5))
    assert begun.wait(5)
    waiting = one.submit(int)
    one.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert running.result(5) is True
    with pytest.raises(CancelledError):
        waiting.result(5)
    with pytest.raises(RuntimeError):
        one.submit(int)
    one.shutdown()


async def test_a_call_in_a_thread_of_its_own_leaves_none_behind():
    before = threading.active_count()
    thread = await in_thread(threading.current_thread)
    thread.join(5)
    assert threading.active_count() == before


def test_a_process_ends_while_its_calls_hang():
    done = subprocess.run(  # noqa: S603 - it is ours
        [sys.executable, "-c", HANGS], timeout=30, check=True, capture_output=True, text=True
    )
    assert done.stdout == "given up\n"
