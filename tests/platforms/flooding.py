"""Three platforms of bare bytes in a thread of their own, which let anybody in and then send one thing without end."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.utils import accept_key

ANSWERS = {
    "token": b'{"access_token":"t","expires_in":3600}',
    "quotas": b'{"available_slots":9,"model_status":"AVAILABLE"}',
    "config": b"{}",
}


def text_frame(message: bytes) -> bytes:
    """One message of a server in one frame."""
    size = len(message)
    short, middle = 125, 0xFFFF
    if size <= short:
        return bytes([0x81, size]) + message
    head = b"\x81\x7e" + size.to_bytes(2) if size <= middle else b"\x81\x7f" + size.to_bytes(8)
    return head + message


class Flood:
    """Sends `once`, then `again` without end on each WebSocket."""

    def __init__(self, once: bytes, again: bytes) -> None:
        self._once = once
        self._again = again * max(1, 65_536 // len(again))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            connection.settimeout(5)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while head := _head(connection):
                if key := re.search(r"(?i)sec-websocket-key: (\S+)", head):
                    self._flood(connection, key[1])
                answer = next(answer for name, answer in ANSWERS.items() if name in head.split()[1])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        except OSError:
            pass  # the relay has left, which is the only end
        finally:
            connection.close()

    def _flood(self, connection: socket.socket, key: str) -> None:
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode() + self._once)
        while True:
            connection.sendall(self._again)


def _head(connection: socket.socket) -> str:
    """Read a request; return its head, and nothing where the other side has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65_536)):
            return ""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65_536)
    return head.decode("latin-1")


@contextmanager
def flooding(once: bytes, again: bytes) -> Iterator[Flood]:
    flood = Flood(once, again)
    flood.start()
    try:
        yield flood
    finally:
        flood.stop()
