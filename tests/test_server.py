"""The relay as a process: it starts, refuses to start, drains on SIGTERM and ends at once on a second one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from conformance.readers import native_events
from trunkline.simulators import Simulator


def settings_file(tmp_path: Path, simulator: Simulator, extra: str = "") -> Path:
    path = tmp_path / "trunkline.toml"
    path.write_text(
        f"[server]\nport = 0\ndrain_s = 0.5\n{extra}\n"
        f'[upstreams.support]\npreset = "openai"\nbase_url = "{simulator.url}/v1"\nmodel = "m"\n'
    )
    return path


@asynccontextmanager
async def process(*args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trunkline", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def address(running: asyncio.subprocess.Process) -> str:
    assert running.stderr is not None
    async for line in running.stderr:
        if b" on http" in line:
            return line.decode().split()[-1]
    raise AssertionError("the relay did not start")


async def test_sigterm_lets_open_turns_end_and_takes_no_new_ones(simulator, http, tmp_path):
    path = settings_file(tmp_path, simulator, "")
    path.write_text(path.read_text().replace("drain_s = 0.5", "drain_s = 10"))
    async with process("serve", "--insecure", "--config", str(path)) as running:
        url = await address(running)
        body = {"input": "sim:text=order;sim:interval-ms=5"}
        async with http.stream("POST", f"{url}/v1/turns?stream=true", json=body) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            running.send_signal(signal.SIGTERM)
            while (ready := await http.get(f"{url}/ready")).status_code == 200:
                pass
            assert ready.json()["reasons"] == ["shutting_down"]
            refused = await http.post(f"{url}/v1/turns", json={"input": "hi"})
            assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
            text += "".join([piece async for piece in pieces])
        assert native_events(text)[-1]["outcome"] == "completed"
        async with asyncio.timeout(10):
            assert await running.wait() == 0


async def test_turns_that_do_not_end_in_time_are_cancelled_and_their_readers_told(simulator, http, tmp_path):
    async with process("serve", "--insecure", "--config", str(settings_file(tmp_path, simulator))) as running:
        url = await address(running)
        body = {"input": "sim:text=long;sim:interval-ms=50"}
        async with http.stream("POST", f"{url}/v1/turns?stream=true", json=body) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            running.send_signal(signal.SIGTERM)
            text += "".join([piece async for piece in pieces])
        end = native_events(text)[-1]
        assert (end["outcome"], end["reason"]) == ("cancelled", "shutdown")
        async with asyncio.timeout(10):
            assert await running.wait() == 0
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"


async def test_a_second_sigterm_ends_at_once(simulator, http, tmp_path):
    path = settings_file(tmp_path, simulator)
    path.write_text(path.read_text().replace("drain_s = 0.5", "drain_s = 600"))
    async with process("serve", "--insecure", "--config", str(path)) as running:
        url = await address(running)
        body = {"input": "sim:text=long;sim:interval-ms=50"}
        async with http.stream("POST", f"{url}/v1/turns?stream=true", json=body) as response:
            pieces = response.aiter_text()
            text = await anext(pieces)
            running.send_signal(signal.SIGTERM)
            while (await http.get(f"{url}/ready")).status_code == 200:
                pass
            running.send_signal(signal.SIGTERM)
            text += "".join([piece async for piece in pieces])
        assert native_events(text)[-1]["reason"] == "shutdown"
        async with asyncio.timeout(10):
            assert await running.wait() == 0
        assert running.stderr is not None
        assert b"Traceback" not in await running.stderr.read()


async def refused(*args: str) -> tuple[int | None, str]:
    async with process(*args) as running, asyncio.timeout(20):
        _, stderr = await running.communicate()
        return running.returncode, stderr.decode()


async def test_without_keys_it_refuses_to_start_and_says_which_line_to_add(simulator, tmp_path):
    code, words = await refused("serve", "--config", str(settings_file(tmp_path, simulator)))
    assert code == 2
    assert "trunkline key NAME" in words
    assert "--insecure" in words
    assert "Traceback" not in words


async def test_insecure_binds_loopback_only(simulator, tmp_path):
    path = settings_file(tmp_path, simulator, 'host = "0.0.0.0"')
    code, words = await refused("serve", "--insecure", "--config", str(path))
    assert code == 2
    assert "loopback" in words


async def test_a_port_in_use_is_one_clear_sentence(simulator, tmp_path):
    port = simulator.url.rpartition(":")[2]
    path = settings_file(tmp_path, simulator)
    path.write_text(path.read_text().replace("port = 0", f"port = {port}"))
    code, words = await refused("serve", "--insecure", "--config", str(path))
    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in words
    assert "Traceback" not in words


async def test_a_broken_settings_file_names_every_fault(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text(
        '[server]\nprot = 1\n[upstreams.a]\npreset = "opnai"\nbase_url = "nope"\nmodel = "m"\napi_key = "sk-secret"\n'
    )
    code, words = await refused("serve", "--config", str(path))
    assert code == 2
    assert 'server.prot: unknown key. Did you mean "port"?' in words
    assert 'Did you mean "openai"?' in words
    assert "upstreams.a.base_url" in words
    assert "sk-secret" not in words
    assert "Traceback" not in words


async def test_the_key_that_is_printed_lets_its_owner_in(simulator, http, tmp_path):
    async with process("key", "web") as making:
        stdout, _ = await making.communicate()
    secret = stdout.decode().split()[5]
    assert hashlib.sha256(secret.encode()).hexdigest() in stdout.decode()
    lines = stdout.decode().partition("[[keys]]")[2]
    path = settings_file(tmp_path, simulator)
    path.write_text(path.read_text() + "[[keys]]" + lines)
    async with process("serve", "--config", str(path)) as running:
        url = await address(running)
        assert (await http.get(f"{url}/v1/models")).status_code == 401
        assert (await http.get(f"{url}/v1/models", headers={"x-api-key": secret})).status_code == 200


async def test_stream_prints_the_answer_and_a_summary(simulator, tmp_path):
    path = settings_file(tmp_path, simulator)
    async with process("stream", "--config", str(path), "sim:text=order") as running:
        stdout, stderr = await running.communicate()
    record = (await simulator.ended(1))[-1]
    assert stdout.decode().rstrip("\n") == record["text"].rstrip("\n")
    assert f"{record['completion_tokens']} tokens (counted by the platform), first after" in stderr.decode()
    assert running.returncode == 0


async def test_stream_says_why_it_failed(simulator, tmp_path):
    path = settings_file(tmp_path, simulator)
    async with process("stream", "--config", str(path), "sim:fault=reset-after=3") as running:
        stdout, stderr = await running.communicate()
    assert running.returncode == 1
    assert stdout.strip()
    assert "failed (upstream_interrupted)" in stderr.decode()


async def test_check_says_what_the_settings_amount_to(simulator, tmp_path):
    path = settings_file(tmp_path, simulator)
    async with process("check", "--config", str(path)) as running:
        stdout, stderr = await running.communicate()
    assert running.returncode == 0
    assert b"upstream support: openai at" in stdout
    assert b"answers are screened by 'contact-centre'" in stdout
    assert not stderr


@pytest.mark.parametrize("args", [("stream", ""), ("key", 'a"b c'), ("simulate", "--port", "99999")])
async def test_plain_mistakes_are_one_clear_sentence(simulator, tmp_path, args):
    if args[0] == "stream":
        args = (args[0], "--config", str(settings_file(tmp_path, simulator)), *args[1:])
    code, words = await refused(*args)
    assert code == 2
    assert "Traceback" not in words
    assert words.strip()


async def test_sigterm_while_it_starts_is_heard(simulator, tmp_path):
    async with process("serve", "--insecure", "--config", str(settings_file(tmp_path, simulator))) as running:
        for _ in range(40):
            if running.returncode is None:
                running.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            await running.wait()


async def test_a_mistyped_command_names_the_nearest():
    code, words = await refused("serv")
    assert code == 2
    assert 'Did you mean "serve"?' in words


@pytest.mark.timeout(60)
async def test_the_story_is_told_and_comes_out():
    async with process("demo", "--once") as running:
        stdout, stderr = await running.communicate()
    told = stdout.decode()
    assert running.returncode == 0, stderr.decode()
    assert told.count("ok: the reader has exactly the") == 2
    assert "connection cut after event" in told
    assert "tokens/s" in told


async def test_simulate_serves_a_text_of_ones_own(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Only this.")
    async with process("simulate", "--port", "0", "--interval-ms", "0", "--text", str(text)) as running:
        assert running.stdout is not None
        url = (await running.stdout.readline()).decode().rpartition(" ")[2].strip()
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        async with httpx.AsyncClient() as http:
            answer = (await http.post(f"{url}/chat/completions", json=body)).json()
        assert answer["choices"][0]["message"]["content"] == "Only this."
        assert json.dumps(answer)
