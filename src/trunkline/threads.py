"""Threads for calls that may never return: the end of the process does not wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]
_NAME: Final = "trunkline"


class Threads(Executor):
    """A pool of at most so many threads, which take calls in their order.

    It is a `ThreadPoolExecutor` of daemons: the interpreter joins all threads of that one before it ends.
    """

    def __init__(self, most: int) -> None:
        """Start no thread before there is a call for it."""
        self._most = most
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._alone = threading.Lock()
        self._is_shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call it in a thread. Raises `RuntimeError` after `shutdown`."""
        future: Future[T] = Future()
        with self._alone:
            if self._is_shut:
                raise RuntimeError("these threads take no more calls")
            self._jobs.put((future, partial(fn, *args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=_NAME, daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _call(*job)
            del job  # An idle thread holds nothing.
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the contract
        """Take no more calls; shutting down twice is harmless."""
        with self._alone:
            self._is_shut = True
            if cancel_futures:
                with suppress(Empty):
                    while (job := self._jobs.get_nowait()) is not None:
                        job[0].cancel()
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


def _call(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
    else:
        future.set_result(result)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a thread of its own; whoever stops waiting does not stop it, nor does it stop the process's end."""
    threads = Threads(1)
    called = asyncio.wrap_future(threads.submit(function, *args, **kwargs))
    threads.shutdown(wait=False)
    return await called
