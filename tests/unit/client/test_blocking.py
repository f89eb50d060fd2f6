"""The library for ordinary programs: every call waits in a thread while the fake gateway runs in the test's loop."""

from __future__ import annotations

import asyncio
import gc
import inspect
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import grpc
import numpy as np
import pytest
import triptych
from triptych import AsyncClient, AsyncVoices, Client, Flush, Voices

from tests.unit.client import fake_server
from tests.unit.client.fake_server import CHUNK_SAMPLES, Context, FakeGateway, floats, refuse, tone

P = ParamSpec("P")
T = TypeVar("T")


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(work, *args, **kwargs)


@pytest.mark.parametrize(("blocking", "model"), [(Client, AsyncClient), (Voices, AsyncVoices)])
def test_it_has_the_same_calls(blocking: type, model: type) -> None:
    internal = {"aclose", "resolve"}
    for name, method in inspect.getmembers(model, inspect.isfunction):
        if (name.startswith("_") and name != "__init__") or name in internal:
            continue
        own = getattr(blocking, name)
        if model is AsyncClient or name != "__init__":
            assert list(inspect.signature(own).parameters) == list(inspect.signature(method).parameters), name


async def test_every_call_is_waited_for(address: str, gateway: FakeGateway, recording: Path) -> None:
    def work() -> None:
        with Client(address, timeout=10) as client:
            assert client.address == address
            speech = client.synthesize("Hello.", seed=7)
            assert np.array_equal(speech.samples, floats(tone(7, 0), tone(7, 1)))
            assert [audio.segment for audio in client.synthesize_stream("One. Two.")] == [0, 0, 1, 1, 0]
            assert client.analyze("Hi.").normalized_text == "HI."
            assert client.models() == (client.model("mini"),)
            assert client.status().is_serving
            assert client.health().is_serving
            voice = client.voices.create("me", recording)
            assert client.voices.list() == (client.voices.get("me"),) == (voice,)
            assert client.voices.update("me", new_name="you").name == "you"
            assert client.voices.set_default("you") == client.voices.default()
            client.voices.delete("you")

    await _in_thread(work)


async def test_failures_are_raised_where_the_call_is(address: str, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED", category="QOS")

    def work() -> None:
        with Client(address) as client:
            with pytest.raises(triptych.QosError, match="full"):
                client.synthesize("Hi.")
            with pytest.raises(triptych.QosError, match="full"):
                next(client.synthesize_stream("Hi."))
            with pytest.raises(TypeError, match="vioce"):
                client.synthesize("Hi.", vioce="anna")  # type: ignore[call-arg]

    gateway.refusal = refusal
    await _in_thread(work)


async def test_text_in_pieces_is_taken_as_it_is_sent(address: str, gateway: FakeGateway) -> None:
    first_heard = threading.Event()

    def pieces() -> Iterator[str | Flush]:
        yield "Wait for it."
        assert first_heard.wait(10)
        yield " now"
        yield Flush()

    def work() -> list[triptych.Audio]:
        heard = []
        with Client(address) as client, client.stream_text(pieces(), seed=5) as stream:
            for audio in stream:
                heard.append(audio)
                first_heard.set()
            with pytest.raises(triptych.ConfigError, match="ended"):
                stream.flush()
        return heard

    heard = await _in_thread(work)
    assert [audio.segment for audio in heard[:-1]] == [0, 0, 1, 1]
    assert gateway.received == ["Wait for it.", " now", "flush"]


async def test_a_flush_from_another_thread_is_spoken(address: str, gateway: FakeGateway) -> None:
    sent, more = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "Wait for it"
        sent.set()
        assert more.wait(10)

    def interrupt(stream: triptych.TextStream) -> None:
        assert sent.wait(10)
        stream.flush()
        stream.cancel_segment(9)

    def listen(stream: triptych.TextStream) -> list[triptych.Audio]:
        heard = [next(stream)]
        more.set()
        return heard + list(stream)

    client = await _in_thread(Client, address)
    stream = client.stream_text(pieces())
    heard, _ = await asyncio.gather(_in_thread(listen, stream), _in_thread(interrupt, stream))
    await _in_thread(client.close)
    assert heard[-1].is_last
    assert gateway.received == ["Wait for it", "flush", "cancel_segment"]


async def test_a_failing_text_source_fails_its_reader(address: str) -> None:
    def pieces() -> Iterator[str]:
        yield "One"
        raise LookupError("no more words")

    def work() -> None:
        with Client(address) as client, pytest.raises(LookupError, match="no more words"):
            list(client.stream_text(pieces()))

    await _in_thread(work)


async def test_many_threads_share_a_client(address: str, gateway: FakeGateway) -> None:
    with Client(address) as client:
        speeches = await asyncio.gather(
            *(_in_thread(partial(client.synthesize, "Hi."), seed=seed) for seed in range(8))
        )
    assert [speech.data for speech in speeches] == [tone(seed, 0) + tone(seed, 1) for seed in range(8)]


async def test_it_works_inside_of_a_running_loop() -> None:
    """As in a notebook; the server has a loop of its own here."""
    addresses: queue.SimpleQueue[str] = queue.SimpleQueue()
    is_done = threading.Event()

    async def serve() -> None:
        server, address = await fake_server.start(FakeGateway())
        addresses.put(address)
        await asyncio.to_thread(is_done.wait)
        await server.stop(None)

    elsewhere = threading.Thread(target=lambda: asyncio.run(serve()))
    elsewhere.start()
    try:
        with Client(addresses.get()) as client:
            assert client.synthesize("Hi.", seed=1).data == tone(1, 0) + tone(1, 1)
            assert [len(audio.samples) for audio in client.stream_text(["One."])] == [CHUNK_SAMPLES, CHUNK_SAMPLES, 0]
            client.close()
    finally:
        is_done.set()
        elsewhere.join()


@pytest.mark.parametrize("is_held", [True, False])
async def test_leaving_a_stream_cancels_it(address: str, gateway: FakeGateway, is_held: bool) -> None:
    def work() -> None:
        with Client(address) as client:
            if is_held:
                with client.synthesize_stream("Word. " * 500) as stream:
                    next(stream)
                assert list(stream) == []
            else:
                next(client.synthesize_stream("Word. " * 500))
            assert client.models()
            cancelled.wait(10)

    gateway.chunk_seconds = 0.01
    cancelled = threading.Event()
    worker = asyncio.ensure_future(_in_thread(work))
    await asyncio.wait_for(gateway.cancelled.wait(), 10)
    cancelled.set()
    await worker


async def test_closing_ends_calls_of_other_threads(address: str, gateway: FakeGateway) -> None:
    waits = asyncio.Event()

    async def refusal(context: Context) -> None:
        waits.set()
        await asyncio.Event().wait()

    gateway.refusal = refusal
    client = Client(address)
    speaker = asyncio.ensure_future(_in_thread(client.synthesize, "Hi."))
    await waits.wait()
    await _in_thread(client.close)

    with pytest.raises(triptych.IoError, match="the client is closed"):
        await speaker
    with pytest.raises(triptych.IoError, match="the client is closed"):
        client.models()


async def test_a_client_that_is_forgotten_is_closed(address: str) -> None:
    def work() -> threading.Thread:
        client = Client(address)
        assert client.models()
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "triptych")
        stream = client.synthesize_stream("One.")
        del client
        gc.collect()
        # Its stream holds it.
        assert len(list(stream)) == 3
        return thread

    thread = await _in_thread(work)
    gc.collect()
    await _in_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_a_call_from_a_callback_is_refused(address: str, gateway: FakeGateway) -> None:
    refusals: list[str] = []

    async def refusal(context: Context) -> None:
        if not refusals:
            details = {"reason": "OVERLOADED", "category": "QOS", "retryable": "true"}
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_seconds=0.01, **details)

    def work() -> None:
        def on_retry(retry: triptych.Retry) -> None:
            with pytest.raises(RuntimeError, match="would wait for itself"):
                client.models()
            refusals.append(retry.error.reason)

        with Client(address, on_retry=on_retry) as client:
            client.synthesize("Hi.")

    gateway.refusal = refusal
    await _in_thread(work)
    assert refusals == ["OVERLOADED"]


def test_a_client_that_cannot_be_made_leaves_no_thread() -> None:
    with pytest.raises(triptych.ConfigError, match="CA file"):
        Client(ca="/no/such/file")
    assert "triptych" not in {thread.name for thread in threading.enumerate()}


_INTERRUPTED = """
import sys, triptych
with triptych.Client(sys.argv[1]) as client:
    try:
        for audio in client.synthesize_stream("One. Two."):
            print("heard", flush=True)
    except KeyboardInterrupt:
        print(client.model().name, flush=True)
"""


async def test_an_interrupt_ends_a_wait(address: str, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 60
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _INTERRUPTED, address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(20):
        assert process.stdout
        assert await process.stdout.readline() == b"heard\n"
        process.send_signal(signal.SIGINT)
        await gateway.cancelled.wait()
        stdout, stderr = await process.communicate()
    assert (stdout, stderr) == (b"mini\n", b"")


_FORGETFUL = """
import itertools, sys, triptych
client = triptych.Client(sys.argv[1])
def words():
    yield "One."
    sys.stdin.read()
print(len(next(client.stream_text(words())).samples), flush=True)
"""


async def test_a_program_that_closes_nothing_ends(address: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _FORGETFUL, address),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        assert process.stdout
        assert process.stderr
        assert int(await process.stdout.readline()) == CHUNK_SAMPLES
        assert await process.wait() == 0
        assert await process.stderr.read() == b""


def test_importing_it_brings_no_library_of_the_command() -> None:
    code = "import sys, triptych; print(sorted({'click', 'rich', 'sounddevice', 'torch'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
