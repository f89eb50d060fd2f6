"""`triptych say`, run as users run it, against a fake gateway."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import struct
import termios
import wave
from pathlib import Path

import grpc
import numpy as np
import pytest

from protos.tts.v1 import synthesis_pb2
from tests.command import run, start
from tests.unit.client.fake_server import CHUNK_SAMPLES, RATE, Context, FakeGateway, floats, refuse, tone

FAKE_SOUND_CARD = """
import numpy, os, pathlib, threading

class PortAudioError(Exception): pass
class CallbackStop(Exception): pass
class Status: output_underflow = False

def query_devices(kind): pass

class OutputStream:
    # Asks for a block as soon as it has the one before; what it plays goes into a file.
    def __init__(self, samplerate, channels, dtype, latency, callback, finished_callback):
        self.callback, self.finished = callback, finished_callback
        self.closed = threading.Event()
    def start(self):
        threading.Thread(target=self.run, daemon=True).start()
    def run(self):
        blocks = int(os.environ.get("FAIL_AFTER_BLOCKS", -1))
        with open(os.environ["HEARD"], "wb") as heard:
            try:
                while blocks and not self.closed.wait(0.001):
                    out = numpy.zeros((441, 1), "float32")
                    stop = None
                    try:
                        self.callback(out, 441, None, Status)
                    except CallbackStop as error:
                        stop = error
                    heard.write(out.tobytes())
                    heard.flush()
                    blocks -= bool(out.any())
                    if stop: break
            finally:
                self.finished()
    def close(self):
        self.closed.set()
"""


@pytest.fixture
def sound_card(tmp_path: Path) -> dict[str, str]:
    """The environment in which a fake `sounddevice` is found."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    (folder / "sounddevice.py").write_text(FAKE_SOUND_CARD)
    return {"PYTHONPATH": str(folder), "HEARD": str(tmp_path / "heard.f32")}


def heard(tmp_path: Path) -> list[float]:
    """What the fake sound card played, without the silence around it."""
    return [float(value) for value in np.trim_zeros(np.fromfile(tmp_path / "heard.f32", "<f4"))]


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
    outcome = await run(address, "say", "One. Two.", "-o", str(path), *options)
    assert outcome.code == 0, outcome.stderr
    assert _frames(path) == 4 * CHUNK_SAMPLES
    assert outcome.stdout == b""
    assert "seed 9" in outcome.stderr
    (config,) = gateway.configs
    assert (config.voice, config.seed, config.render.steps) == ("anna", 9, 4)
    assert (config.emotion.vector.happy, config.emotion.vector.calm) == (0.6, 0.2)
    assert config.sampling.temperature == 0.5


async def test_say_pipes_raw_samples(address: str) -> None:
    outcome = await run(address, "say", "One.", "--stdout", "--seed", "3", "--quiet")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == tone(3, 0) + tone(3, 1)


async def test_say_sends_a_recording(address: str, gateway: FakeGateway, recording: Path) -> None:
    outcome = await run(address, "say", "One.", "--stdout", "--voice", str(recording))
    assert outcome.code == 0
    assert gateway.uploads == 0
    assert gateway.configs[0].recording.audio == recording.read_bytes()  # noqa: ASYNC240


async def test_a_recording_may_have_a_transcript(address: str, gateway: FakeGateway, recording: Path) -> None:
    words = ("--voice", str(recording), "--transcript", "so I said")
    outcome = await run(address, "say", "One.", "--stdout", *words)
    assert outcome.code == 0, outcome.stderr
    assert gateway.configs[0].recording.audio == recording.read_bytes()  # noqa: ASYNC240
    assert gateway.configs[0].recording.transcript == "so I said"


@pytest.mark.parametrize("destination", ["--stdout", "--dry-run"])
async def test_the_name_of_a_recording_of_an_emotion_is_told(
    address: str, gateway: FakeGateway, recording: Path, destination: str
) -> None:
    outcome = await run(address, "say", "One.", destination, "--emotion-voice", str(recording))
    assert outcome.code == 0, outcome.stderr
    (voice,) = gateway.voices.values()
    assert gateway.configs[0].emotion.voice == voice.id
    assert f"is the voice {voice.name} on the server, and stays there\n" in outcome.stderr


async def test_an_empty_voice_is_not_the_default_one(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    outcome = await run(address, "say", "One.", "--stdout", "--voice", "")
    assert outcome.code == 1
    assert outcome.stderr.startswith("triptych: a voice is a name, an id or a recording")
    empty = tmp_path / "empty.wav"
    empty.touch()
    outcome = await run(address, "say", "One.", "--stdout", "--voice", str(empty))
    assert outcome.stderr.startswith("triptych: the recording is empty")
    assert gateway.configs == []


async def test_what_fails_here_has_no_reason_of_the_server(address: str, tmp_path: Path) -> None:
    path = tmp_path / "gone.wav"
    outcome = await run(address, "say", "One.", "--stdout", "--voice", str(path))
    assert outcome.code == 1
    assert outcome.stderr.startswith(f"triptych: cannot read the recording {path}: No such file or directory")
    outcome = await run(address, "health", "--token-file", str(path))
    assert outcome.stderr == f"triptych: cannot read the token file {path}: No such file or directory\n"


async def test_piped_text_is_spoken_as_it_arrives(address: str) -> None:
    process = await start(address, "say", "--stdout", "--quiet", "--seed", "1")
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


@pytest.mark.parametrize(("sentences", "whole_texts", "messages"), [(200, 1, 1), (800, 0, 11)])
async def test_a_long_file_is_sent_in_pieces_if_the_server_takes_no_more_at_once(
    address: str, gateway: FakeGateway, tmp_path: Path, sentences: int, whole_texts: int, messages: int
) -> None:
    text = tmp_path / "long.txt"
    text.write_text("A sentence of a long text. " * sentences)
    outcome = await run(address, "say", "-f", str(text), "-o", str(tmp_path / "long.wav"))
    assert outcome.code == 0, outcome.stderr
    assert (gateway.whole_texts, len(gateway.received)) == (whole_texts, messages)
    assert "".join(gateway.received) == text.read_text()


async def test_a_broken_stream_leaves_what_came(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.breaks_after = 3
    path = tmp_path / "broken.wav"
    outcome = await run(address, "say", "One. Two.", "-q", "-o", str(path))
    assert outcome.code == 1
    assert outcome.stderr == "triptych: STAGE_LOST: stage gpt is lost; try again in 0.01 s\n"
    assert _frames(path) == 3 * CHUNK_SAMPLES


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_signal_leaves_what_came(
    address: str, gateway: FakeGateway, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    gateway.chunk_seconds = 0.05
    path = tmp_path / "interrupted.wav"
    # Where the tests themselves run under nohup, their children would be born deaf to it.
    hears_all = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)"
    process = await start(address, "say", "Word. " * 100, "-o", str(path), before=hears_all)
    while not path.exists() or path.stat().st_size < 44 + 4 * CHUNK_SAMPLES:
        await asyncio.sleep(0.02)
    process.send_signal(number)
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert _frames(path) >= 2 * CHUNK_SAMPLES
    kept = f"{path}: stopped after {_frames(path) / RATE:.2f} s of speech, which is kept"
    # After Ctrl-C an empty line follows, for the terminal's own ^C.
    assert stderr.decode().rstrip("\n").endswith(kept)
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_an_interrupt_ends_a_wait_for_text(address: str, gateway: FakeGateway) -> None:
    process = await start(address, "say", "--stdout")
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
    outcome = await run(address, "say", "One.", "-o", str(path))
    assert outcome.code == 1
    assert outcome.stderr == "triptych: OVERLOADED: all slots are taken (config); try again in 0.5 s\n"
    assert path.read_bytes() == b"old"


async def test_a_full_disk_is_named_and_the_file_whole(address: str, tmp_path: Path) -> None:
    small_files = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))"
    path = tmp_path / "a.wav"
    outcome = await run(address, "say", "One. Two. Three.", "-q", "-o", str(path), before=small_files)
    assert outcome.code == 1
    assert outcome.stderr == f"triptych: {path}: File too large; the 0.23 s before are kept\n"
    assert path.stat().st_size == 10_000
    assert _frames(path) == (10_000 - 44) // 2


async def test_a_device_is_no_file(address: str) -> None:
    outcome = await run(address, "say", "Hi.", "-o", "/dev/full")
    assert outcome.code == 2
    assert "/dev/full is not a file" in outcome.stderr


async def test_a_reader_that_goes_ends_the_command_quietly(address: str, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 0.01
    process = await start(address, "say", "Word. " * 400, "--stdout", "--quiet")
    assert process.stdout
    assert process.stderr
    await process.stdout.readexactly(1000)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(process.wait(), 20) == 141
    assert await process.stderr.read() == b""


async def test_play_without_a_sound_card_says_so(address: str) -> None:
    outcome = await run(address, "say", "Hi.", "--play")
    assert outcome.code == 1
    assert outcome.stderr.startswith("triptych: --play ")
    assert outcome.stderr.count("\n") == 1


async def test_playback_and_file_go_together(address: str, tmp_path: Path, sound_card: dict[str, str]) -> None:
    path = tmp_path / "a.wav"
    outcome = await run(address, "say", "One. Two.", "--play", "-o", str(path), "--seed", "3", environment=sound_card)
    assert outcome.code == 0, outcome.stderr
    assert "underrun" in outcome.stderr
    speech = floats(*(tone(3, index) for index in range(4)))
    assert _frames(path) == len(speech)
    played = [value for value in heard(tmp_path) if value]
    assert played == [value for value in speech.tolist() if value]


async def test_a_sound_card_that_fails_costs_the_file_nothing(
    address: str, gateway: FakeGateway, tmp_path: Path, sound_card: dict[str, str]
) -> None:
    gateway.chunk_seconds = 0.01
    path = tmp_path / "a.wav"
    words = "Word. " * 20
    environment = sound_card | {"FAIL_AFTER_BLOCKS": "3"}
    outcome = await run(address, "say", words, "--play", "-o", str(path), environment=environment)
    assert outcome.code == 1
    reason = "the sound card stopped before the end of the speech"
    assert f"warning: {reason}; the speech goes on elsewhere\n" in outcome.stderr
    assert outcome.stderr.endswith(f"\ntriptych: {reason}\n")
    assert _frames(path) == 40 * CHUNK_SAMPLES


async def test_a_closed_pipe_costs_the_file_nothing(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.chunk_seconds = 0.01
    path = tmp_path / "a.wav"
    process = await start(address, "say", "Word. " * 60, "--stdout", "-o", str(path))
    assert process.stdout
    assert process.stderr
    await process.stdout.readexactly(1000)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(process.wait(), 20) == 141
    assert b"warning: the pipe was closed; the speech goes on elsewhere\n" in await process.stderr.read()
    assert _frames(path) == 120 * CHUNK_SAMPLES


async def test_a_signal_ends_a_write_that_nobody_reads(address: str) -> None:
    read_end, write_end = os.pipe()
    room = fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    assert room < 2 * CHUNK_SAMPLES
    try:
        process = await start(address, "say", "Word. " * 100, "--stdout", "--quiet", stdout=write_end)
        while _waiting_bytes(read_end) < room:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 143
    finally:
        os.close(read_end)
        os.close(write_end)


def _waiting_bytes(descriptor: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
    return int(count)


async def test_every_option_reaches_the_server(address: str, gateway: FakeGateway) -> None:
    arguments = (
        *("--lang", "en", "--model", "mini", "--instruction", "softly", "--rate", "1.5", "--emotion-text", "gladly"),
        *(
            "--emotion-weight",
            "0.5",
            "--top-p",
            "0.9",
            "--top-k",
            "5",
            "--greedy",
            "--cfg-rate",
            "0",
            "--policy",
            "whole",
        ),
        *("--param", "a=0.5", "--param", "b=2", "--glossary", "SQL=sequel", "--glossary", "ACK=ack"),
        *("--repetition-penalty", "2", "--max-codes", "9", "--max-segment-tokens", "30", "--session-id", "s"),
        *("--no-rule", "numbers", "--no-rule", "dates", "--encoding", "float32", "--sample-rate", "16000"),
        *("--chunk-ms", "0", "--gap-ms", "0", "--tail-ms", "10", "--max-first-audio-ms", "9000", "--priority", "batch"),
    )
    outcome = await run(address, "say", "One.", "--stdout", *arguments)
    assert outcome.code == 0, outcome.stderr
    (config,) = gateway.configs
    assert (config.language, config.model, config.instruction, config.speaking_rate) == ("en", "mini", "softly", 1.5)
    assert (config.emotion.text, config.emotion.weight) == ("gladly", 0.5)
    assert (config.sampling.top_p, config.sampling.top_k, config.sampling.is_greedy) == (0.9, 5, True)
    assert (config.sampling.repetition_penalty, config.sampling.max_codes) == (2, 9)
    assert (config.text.max_segment_tokens, config.session_id) == (30, "s")
    assert (config.render.HasField("cfg_rate"), config.render.policy) == (True, "whole")
    assert dict(config.params) == {"a": 0.5, "b": 2}
    assert [(term.term, term.reading) for term in config.text.glossary] == [("SQL", "sequel"), ("ACK", "ack")]
    assert list(config.text.disabled_rules) == ["numbers", "dates"]
    audio = config.audio
    assert (audio.encoding, audio.sample_rate_hz) == (synthesis_pb2.AUDIO_ENCODING_FLOAT32, 16000)
    assert (audio.HasField("chunk_ms"), audio.HasField("segment_gap_ms"), audio.tail_silence_ms) == (True, True, 10)
    assert (config.max_first_audio_ms, config.priority) == (9000, synthesis_pb2.PRIORITY_BATCH)


async def test_what_is_not_asked_for_stays_unset(address: str, gateway: FakeGateway) -> None:
    assert (await run(address, "say", "One.", "--stdout")).code == 0
    assert gateway.configs[0].ByteSize() == 0


async def test_what_was_not_spoken_as_written_is_said(address: str, tmp_path: Path) -> None:
    outcome = await run(address, "say", "One.", "-o", str(tmp_path / "a.wav"))
    assert "warning: at character 0: a character is unknown\n" in outcome.stderr


async def test_a_refusal_for_now_is_waited_out_and_told(address: str, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        gateway.refusal = None
        await refuse(
            context,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "all slots are taken",
            reason="OVERLOADED",
            category="QOS",
            retryable="true",
            retry_seconds=0.01,
        )

    gateway.refusal = refusal
    outcome = await run(address, "say", "One.", "--stdout", "--seed", "3")
    assert outcome.code == 0
    assert outcome.stdout == tone(3, 0) + tone(3, 1)
    assert outcome.stderr.startswith("all slots are taken; trying again in 0.1 s\n")


async def test_a_dry_run_is_a_table(address: str) -> None:
    outcome = await run(address, "say", "--dry-run", "Hi [b]there[/b].")
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.decode().splitlines()
    assert lines[0].split() == ["model", "mini,", "revision", "0123456789abcdef"]
    header = next(index for index, line in enumerate(lines) if "SEGMENT" in line)
    assert lines[header].split() == ["SEGMENT", "CHARACTERS", "TEXT", "SPOKEN", "AS", "TOKENS", "PIECES"]
    for word in ("0 to 16", "Hi [b]there[/b].", "HI [B]THERE[/B].", "▁HI"):
        assert word in lines[header + 1]


async def test_a_dry_run_with_codes_shows_them(address: str, tmp_path: Path) -> None:
    outcome = await run(address, "say", "--dry-run=codes", stdin=b"Hi.")
    assert outcome.code == 0, outcome.stderr
    assert "codes of segment 0: 5 6\n" in outcome.stdout.decode()
    assert "seed" in outcome.stdout.decode()


async def test_a_dry_run_for_programs_has_stable_names(address: str, tmp_path: Path) -> None:
    outcome = await run(address, "say", "Hi.", "--dry-run", "--json")
    assert outcome.code == 0, outcome.stderr
    answer = json.loads(outcome.stdout)
    names = ["model", "model_revision", "language", "normalized_text", "segments", "usage", "utterance", "warnings"]
    assert list(answer) == names
    assert answer["segments"] == [
        {
            "index": 0,
            "text_span": {"start": 0, "end": 3},
            "normalized_text": "HI.",
            "tokens": [{"id": 3, "piece": "▁HI", "text_span": {"start": 0, "end": 3}}],
            "warnings": [],
            "codes": [],
            "codebooks": 1,
            "finish_reason": "unspecified",
        }
    ]


async def test_a_raw_file_has_no_header(address: str, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    assert (await run(address, "say", "One.", "-o", str(path), "--seed", "3")).code == 0
    assert path.read_bytes() == tone(3, 0) + tone(3, 1)


async def test_a_byte_order_mark_is_not_spoken(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("One.", "utf-8-sig")
    await run(address, "say", "-f", str(text), "--stdout")
    await run(address, "say", "--stdout", stdin=text.read_bytes())
    assert gateway.received == ["One.", "One."]
