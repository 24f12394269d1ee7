"""Plain calls: whole bodies, bounds, deadlines, and no exception for what a network does."""

from __future__ import annotations

import asyncio

import pytest

from sources.test_http_stream import server
from trunkline.connect.http import MAX_BODY_BYTES, HttpClient


@pytest.fixture
async def client():
    client = HttpClient()
    yield client
    await client.close()


async def test_a_body_that_comes_in_pieces_is_whole(client):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n", b"x" * 10, b"y" * 10):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with server(handle) as (url, _):
        answer = await client.call("GET", url, headers={})
    assert (answer.status, answer.body) == (200, b"x" * 10 + b"y" * 10)


async def test_a_body_that_is_too_long_a_silence_and_a_closed_port_are_status_0(client):
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = MAX_BODY_BYTES + 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"z" * size)
        await writer.drain()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(flood) as (url, _):
        assert (await client.call("GET", url, headers={})).status == 0
    async with server(silent) as (url, _):
        assert b"no answer within" in (await client.call("GET", url, headers={}, timeout_s=0.1)).body
    assert (await client.call("GET", "http://127.0.0.1:9", headers={})).status == 0
