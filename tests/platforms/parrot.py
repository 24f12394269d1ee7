"""A platform that repeats what it was asked with, in the words of its errors, as some gateways and debug pages do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

TOKEN = "SECRETTOKEN-1234567890"
AROUND = "bad \x1b[31m request, it said {} and " + "more " * 100


def issued(token: str = TOKEN) -> tuple[int, Any]:
    """The answer of a token endpoint that lets its client in."""
    return 200, {"access_token": token, "expires_in": 3600}


class Parrot:
    """Answers each request by the first of these words that is in its path, in turn, and with the last for good.

    An answer is a status and a JSON value; `{}` in a text of it stands for the request's `Authorization` and body.
    `arrived` is set with each request, and none is answered while `may_answer` is not.
    """

    def __init__(self, **answers: list[tuple[int, Any]]) -> None:
        self._answers = answers
        self.asked: list[str] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = lines[0].split(" ")[1]
            self.asked.append(path)
            self.arrived.set()
            await self.may_answer.wait()
            status, said = self._answer(path)
            heard = f"{headers.get('authorization', '')} {body.decode()}"
            content = json.dumps(said).replace("{}", json.dumps(heard)[1:-1]).encode()
            first = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close"
            writer.write(f"{first}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[int, Any]:
        answers = next((answers for word, answers in self._answers.items() if word in path), [(404, {})])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def parrot(**answers: list[tuple[int, Any]]) -> AsyncIterator[Parrot]:
    """Serve a parrot over a real socket."""
    bird = Parrot(**answers)
    server = await asyncio.start_server(bird.serve, "127.0.0.1", 0)
    bird.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield bird
    finally:
        server.close()
