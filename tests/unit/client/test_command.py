"""The command, run as users run it, against a fake gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import wave
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from triptych.commands import main

from tests.unit.client.fake_server import CHUNK_SAMPLES, REVISION, Context, FakeGateway, refuse, tone

COMMAND = (sys.executable, "-c", "from triptych.commands import main; main()")


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: bytes
    stderr: str


async def _start(address: str, *arguments: str) -> Process:
    environment = os.environ | {"TRIPTYCH_ADDRESS": address, "COLUMNS": "300"}
    return await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )


async def _run(address: str, *arguments: str, stdin: bytes = b"") -> Outcome:
    process = await _start(address, *arguments)
    stdout, stderr = await process.communicate(stdin)
    assert process.returncode is not None
    return Outcome(process.returncode, stdout, stderr.decode())


def _frames(path: Path) -> int:
    with wave.open(str(path)) as file:
        assert path.stat().st_size == 44 + 2 * file.getnframes()
        return int(file.getnframes())


async def test_say_writes_a_wav_and_tells_the_seed(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    options = (
        "--voice",
        "anna",
        "--seed",
        "9",
        "--emotion",
        "happy=0.6,calm=0.2",
        "--steps",
        "4",
        "--temperature",
        "0.5",
    )
    outcome = await _run(address, "say", "One. Two.", "-o", str(path), *options)
    assert outcome.code == 0, outcome.stderr
    assert _frames(path) == 4 * CHUNK_SAMPLES
    assert outcome.stdout == b""
    assert "seed 9" in outcome.stderr
    (config,) = gateway.configs
    assert (config.voice, config.seed, config.render.steps) == ("anna", 9, 4)
    assert (config.emotion.vector.happy, config.emotion.vector.calm) == (0.6, 0.2)
    assert config.sampling.temperature == 0.5


async def test_say_pipes_raw_samples(address: str) -> None:
    outcome = await _run(address, "say", "One.", "--stdout", "--seed", "3", "--quiet")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == tone(3, 0) + tone(3, 1)


async def test_say_registers_a_recording(address: str, gateway: FakeGateway, recording: Path) -> None:
    outcome = await _run(address, "say", "One.", "--stdout", "--voice", str(recording))
    assert outcome.code == 0
    assert gateway.uploads == 1
    assert gateway.configs[0].voice.startswith("sha256-")


async def test_piped_text_is_spoken_as_it_arrives(address: str) -> None:
    process = await _start(address, "say", "--stdout", "--quiet", "--seed", "1")
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"First sentence. Gr")
    first = await asyncio.wait_for(process.stdout.readexactly(4 * CHUNK_SAMPLES), 20)
    assert first == tone(1, 0) + tone(1, 1)
    # Half of a character now, the other half later.
    process.stdin.write("ü".encode()[:1])
    await process.stdin.drain()
    process.stdin.write("ü".encode()[1:] + b"n.")
    process.stdin.close()
    rest = await process.stdout.read()
    assert rest == tone(1, 2) + tone(1, 3)
    assert await process.wait() == 0


async def test_a_long_file_is_sent_in_pieces(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    text = tmp_path / "long.txt"
    text.write_text("A sentence of a long text. " * 200)
    outcome = await _run(address, "say", "-f", str(text), "-o", str(tmp_path / "long.wav"))
    assert outcome.code == 0
    assert len(gateway.received) == 3
    assert "".join(gateway.received) == text.read_text()


async def test_a_broken_stream_leaves_what_came(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.breaks_after = 3
    path = tmp_path / "broken.wav"
    outcome = await _run(address, "say", "One. Two.", "-o", str(path))
    assert outcome.code == 1
    assert outcome.stderr == "triptych: stage gpt is lost\n"
    assert _frames(path) == 3 * CHUNK_SAMPLES


async def test_an_interrupt_leaves_what_came(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.chunk_seconds = 0.05
    path = tmp_path / "interrupted.wav"
    process = await _start(address, "say", "Word. " * 100, "-o", str(path))
    while not path.exists() or path.stat().st_size < 44 + 4 * CHUNK_SAMPLES:
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert _frames(path) >= 2 * CHUNK_SAMPLES
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_an_interrupt_ends_a_wait_for_text(address: str, gateway: FakeGateway) -> None:
    process = await _start(address, "say", "--stdout")
    while not gateway.configs:
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 130


async def test_a_refusal_is_one_line_and_keeps_the_old_file(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    async def refusal(context: Context) -> None:
        await refuse(
            context,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "all slots are taken",
            reason="OVERLOADED",
            field="config",
            retry_seconds=0.5,
        )

    gateway.refusal = refusal
    path = tmp_path / "old.wav"
    path.write_bytes(b"old")
    outcome = await _run(address, "say", "One.", "-o", str(path))
    assert outcome.code == 1
    assert outcome.stderr == "triptych: all slots are taken (config); try again in 0.5 s\n"
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("say", "Hi."), "say where the speech goes"),
        (("say", "Hi.", "-o", "/no/such/folder/a.wav"), "no folder"),
        (("say", "Hi.", "-f", "x", "--stdout"), "not both"),
        (("say", "-f", "/no/such/file", "--stdout"), "cannot read"),
        (("say", "Hi.", "--stdout", "--emotion", "bored=1"), "no emotion is called 'bored'"),
        (("say", "Hi.", "--stdout", "--emotion", "happy"), "NAME=NUMBER"),
        (("say", "Hi.", "--stdout", "--seed", "-1"), "--seed"),
        (("sing",), "No such command"),
    ],
)
def test_wrong_usage_is_2(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["triptych", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err


async def test_no_server_is_1(tmp_path: Path) -> None:
    outcome = await _run("127.0.0.1:1", "say", "Hi.", "-o", str(tmp_path / "a.wav"))
    assert (outcome.code, outcome.stderr) == (1, "triptych: no server answers at 127.0.0.1:1\n")
    assert not (tmp_path / "a.wav").exists()


async def test_a_full_disk_is_named(address: str) -> None:
    outcome = await _run(address, "say", "Hi.", "-o", "/dev/full")
    assert outcome.code == 2
    assert "/dev/full" in outcome.stderr


async def test_a_reader_that_goes_ends_the_command_quietly(address: str, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 0.01
    process = await _start(address, "say", "Word. " * 400, "--stdout", "--quiet")
    assert process.stdout
    assert process.stderr
    await process.stdout.readexactly(1000)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(process.wait(), 20) == 1
    assert await process.stderr.read() == b""


async def test_health_tells_every_stage(address: str, gateway: FakeGateway) -> None:
    outcome = await _run(address, "health")
    assert outcome.code == 0
    lines = outcome.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "gateway", "gpt", "s2mel", "vocoder"]
    assert all(REVISION in line and "cpu" in line for line in lines[2:])
    gateway.health.statuses["tts.v1.TextToSpeech"] = "NOT_SERVING"
    outcome = await _run(address, "health")
    assert outcome.code == 1
    assert "not serving" in outcome.stdout.decode()


async def test_models_are_listed(address: str) -> None:
    outcome = await _run(address, "models")
    assert outcome.code == 0
    for word in ("mini (default)", REVISION, "emotion_vector", "steps", "1 to 100, default 10"):
        assert word in outcome.stdout.decode()


async def test_voices_are_managed(address: str, recording: Path) -> None:
    assert (await _run(address, "voices", "add", "me", str(recording))).code == 0
    assert b"me" in (await _run(address, "voices", "list")).stdout
    assert b"3.00 s, 16000 Hz" in (await _run(address, "voices", "show", "me")).stdout
    assert (await _run(address, "voices", "remove", "me")).stdout == b"removed me\n"
    gone = await _run(address, "voices", "show", "me")
    assert (gone.code, gone.stderr) == (1, "triptych: no voice is called me\n")
    text = recording.with_name("text.wav")
    text.write_text("no audio")
    refused = await _run(address, "voices", "add", "it", str(text))
    assert (refused.code, refused.stderr) == (
        1,
        "triptych: not audio: accepted are WAV, FLAC, MP3 and Ogg\n",
    )


async def test_play_without_a_sound_card_says_so(address: str) -> None:
    outcome = await _run(address, "say", "Hi.", "--play")
    assert outcome.code == 1
    assert outcome.stderr.startswith("triptych: --play ")
    assert outcome.stderr.count("\n") == 1
