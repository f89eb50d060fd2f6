"""The command, run as users run it, against a fake gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc
import pytest
from triptych.commands import main

from tests.command import run, start
from tests.unit.client.fake_server import REVISION, Context, FakeGateway, refuse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("say", "Hi."), "say where the speech goes"),
        (("say", "Hi.", "-o", "/no/such/folder/a.wav"), "no folder"),
        (("say", "Hi.", "-o", "a.mp3"), "--output ends in .wav or .raw, or has no suffix"),
        (("say", "Hi.", "--stdout", "--transcript", "so"), "--transcript needs --voice FILE"),
        (("say", "Hi.", "--stdout", "--transcript", "so", "--voice", "anna"), "--transcript needs --voice FILE"),
        (("say", "Hi.", "-f", "x", "--stdout"), "not both"),
        (("say", "-f", "/no/such/file", "--stdout"), "cannot read"),
        (("say", "Hi.", "--stdout", "--emotion", "bored=1"), "no emotion is called 'bored'"),
        (("say", "Hi.", "--stdout", "--emotion", "happy"), "NAME=NUMBER"),
        (("say", "Hi.", "--stdout", "--seed", "-1"), "--seed"),
        (("say", "Hi.", "--stdout", "--emotion", "calm=1", "--emotion-text", "so"), "give one of"),
        (("say", "Hi.", "--stdout", "--emotion-weight", "1"), "--emotion-weight needs"),
        (("say", "Hi.", "--stdout", "--param", "a"), "NAME=NUMBER"),
        (("say", "Hi.", "--stdout", "--glossary", "a="), "TERM=READING"),
        (("say", "Hi.", "--stdout", "--encoding", "mp3"), "'linear16', 'float32'"),
        (("say", "Hi.", "--stdout", "--json"), "--json needs --dry-run"),
        (("say", "Hi.", "--dry-run=sound"), "'text', 'codes'"),
        (("voices", "update", "me"), "nothing to change"),
        (("bench", "--streams", "1,0"), "such as 1,2,4"),
        (("completion", "tcsh"), "'bash', 'zsh', 'fish'"),
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
    outcome = await run("127.0.0.1:1", "say", "Hi.", "-o", str(tmp_path / "a.wav"))
    assert (outcome.code, outcome.stderr) == (1, "triptych: no server answers at 127.0.0.1:1\n")
    assert not (tmp_path / "a.wav").exists()


async def test_health_tells_every_worker(address: str, gateway: FakeGateway) -> None:
    outcome = await run(address, "health")
    assert outcome.code == 0
    gateway_line, header, worker = outcome.stdout.decode().splitlines()
    assert gateway_line == "gateway serving: version 0.1.0, up 7 s, 0 of at most 2 wait"
    assert header.split()[:2] == ["STAGE", "STATE"]
    for word in ("gpt", "draining", "mini", REVISION, "cpu", "3 of 4", "w at 127.0.0.1:50061"):
        assert word in worker


async def test_health_is_1_when_the_server_would_not_speak(address: str, gateway: FakeGateway) -> None:
    gateway.status.answer.is_serving = False
    stage = gateway.status.answer.models[0].stages.add()
    stage.name = "vocoder"
    outcome = await run(address, "health")
    assert outcome.code == 1
    assert "gateway not serving" in outcome.stdout.decode()
    assert outcome.stdout.decode().splitlines()[-1].split()[:4] == ["vocoder", "not", "serving", "mini"]


async def test_health_for_programs_has_stable_names(address: str, gateway: FakeGateway) -> None:
    gateway.status.answer.is_serving = False
    outcome = await run(address, "health", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.stdout) == {
        "version": "0.1.0",
        "is_serving": False,
        "uptime_seconds": 7,
        "queue_depth": 0,
        "max_queue": 2,
        "models": [
            {
                "name": "mini",
                "revision": REVISION,
                "is_default": True,
                "is_serving": True,
                "stages": [
                    {
                        "name": "gpt",
                        "is_serving": True,
                        "workers": [
                            {
                                "worker": "w",
                                "address": "127.0.0.1:50061",
                                "state": "draining",
                                "device": "cpu",
                                "provider": "",
                                "dtype": "",
                                "memory_used_bytes": 5,
                                "memory_total_bytes": 9,
                                "slots": 4,
                                "free_slots": 3,
                            }
                        ],
                    }
                ],
            }
        ],
    }


async def test_models_tell_what_a_request_may_set(address: str) -> None:
    outcome = await run(address, "models")
    assert outcome.code == 0
    shown = outcome.stdout.decode()
    for word in ("mini (default)", REVISION, "emotion_vector", "reference", "numbers", "balanced, whole", "20000"):
        assert word in shown
    parameter = next(line for line in shown.splitlines() if "steps" in line)
    assert parameter.split() == ["steps", "1", "100", "10", "config.render.steps"]
    balanced = next(line for line in shown.splitlines() if "20 x 2 to 150 codes" in line)
    for cell in ("balanced", "25 codes", "10 codes", "1.5 s", "24 + 8 frames", "top_k 4"):
        assert cell in balanced
    assert "whole segments" in shown


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_a_table_that_nobody_reads_ends_quietly(address: str, form: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        process = await start(address, "models", *form, stdout=write_end)
        _, stderr = await asyncio.wait_for(process.communicate(), 20)
    finally:
        os.close(write_end)
    assert (process.returncode, stderr) == (141, b"")


async def test_a_fault_of_the_server_names_the_utterance(address: str, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await refuse(
            context,
            grpc.StatusCode.INTERNAL,
            "stage gpt broke",
            reason="STAGE_FAILED",
            category="MODEL",
            utterance_id="u1",
        )

    gateway.refusal = refusal
    outcome = await run(address, "say", "Hi.", "--stdout")
    message = "triptych: STAGE_FAILED: stage gpt broke; the server's log knows it as u1\n"
    assert (outcome.code, outcome.stderr) == (1, message)


async def test_models_for_programs_have_stable_names(address: str) -> None:
    (model,) = json.loads((await run(address, "models", "--json")).stdout)
    assert (model["name"], model["voice_modes"], model["text_rules"]) == ("mini", ["reference"], ["numbers"])
    assert model["limits"]["max_unary_characters"] == 5000
    assert model["parameters"][0]["field"] == "config.render.steps"


async def test_a_token_and_a_certificate_come_from_files(address: str, gateway: FakeGateway, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    outcome = await run(address, "say", "Hi.", "--stdout", "--token-file", str(token))
    assert outcome.code == 0, outcome.stderr
    await run(address, "say", "Hi.", "--stdout", environment={"TRIPTYCH_TOKEN_FILE": str(token)})
    assert [metadata["authorization"] for metadata in gateway.metadata] == ["Bearer s3cret"] * 2

    outcome = await run(address, "health", "--ca", str(token))
    assert (outcome.code, outcome.stderr) == (
        1,
        f"triptych: the CA file {token} holds no certificate in PEM form\n",
    )


async def test_a_timeout_is_named(address: str, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 60
    outcome = await run(address, "say", "Hi.", "--stdout", "--timeout", "0.3")
    assert (outcome.code, outcome.stderr) == (1, "triptych: the time given for this call is over\n")


async def test_voices_are_managed(address: str, recording: Path) -> None:
    assert (await run(address, "voices", "add", "me", str(recording))).code == 0
    assert b"me" in (await run(address, "voices", "list")).stdout
    assert b"3.00 s, 16000 Hz" in (await run(address, "voices", "show", "me")).stdout
    assert (await run(address, "voices", "remove", "me")).stdout == b"removed me\n"
    gone = await run(address, "voices", "show", "me")
    assert (gone.code, gone.stderr) == (1, "triptych: VOICE_NOT_FOUND: no voice is called me\n")
    text = recording.with_name("text.wav")
    text.write_text("no audio")
    refused = await run(address, "voices", "add", "it", str(text))
    assert (refused.code, refused.stderr) == (
        1,
        "triptych: RECORDING_NOT_AUDIO: not audio: accepted are WAV, FLAC, MP3 and Ogg\n",
    )


async def test_voices_are_described(address: str, gateway: FakeGateway, recording: Path) -> None:
    words = ("--transcript", "so I said", "--description", "at home")
    added = await run(address, "voices", "add", "me", str(recording), *words)
    assert added.stdout.decode().endswith("transcript: so I said\ndescription: at home\n")
    assert added.stderr == "warning: it is noisy\n"

    updated = await run(address, "voices", "update", "me", "--name", "you", "--description", "")
    assert updated.stdout.decode().startswith("name: you\n")
    assert updated.stdout.decode().endswith("transcript: so I said\n")

    shown = json.loads((await run(address, "voices", "show", "you", "--json")).stdout)
    assert (shown["name"], shown["source"], shown["transcript"], shown["description"]) == (
        "you",
        "registered",
        "so I said",
        "",
    )
    assert shown["warnings"] == [{"reason": "noisy", "message": "it is noisy"}]
    assert json.loads((await run(address, "voices", "list", "--json")).stdout) == [shown]


async def test_the_default_voice_is_set_and_shown(address: str, gateway: FakeGateway, recording: Path) -> None:
    await run(address, "voices", "add", "me", str(recording))
    assert (await run(address, "voices", "default", "me")).code == 0
    assert gateway.default_voice == "me"
    assert b"name: me" in (await run(address, "voices", "default")).stdout
