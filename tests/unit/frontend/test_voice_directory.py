"""Audio files of an operator's directory are voices for as long as they are there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from protos.tts.v1 import voices_pb2
from services.common.errors import InvalidRequestError, NotFoundError
from services.common.grpc_errors import from_rpc_error
from services.common.reasons import Reason
from services.frontend.voices.directory import VoiceDirectory
from services.frontend.voices.record import StoredVoice, VoiceSource, is_name, voice_id
from services.frontend.voices.store import VoiceStore
from tests.fakes.voices import VoiceSystem, create, recording, upload, voice_system


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    return VoiceStore(tmp_path / "voices")


@pytest.fixture
def files(path: Path, store: VoiceStore) -> VoiceDirectory:
    return directory(path, store)


def directory(path: Path, store: VoiceStore) -> VoiceDirectory:
    return VoiceDirectory(path, store, source=VoiceSource.DIRECTORY, max_bytes=1000, poll_seconds=0.05)


def skipped(sync: Callable[[], object]) -> dict[str, str]:
    """Files that the log names while this runs, with the reason."""
    with capture_logs() as lines:
        sync()
    return {
        line["file"]: line["why"] for line in lines if line["event"] in {"voice_file_skipped", "voice_file_shadowed"}
    }


async def seen(system: VoiceSystem, name: str, *, other_than: str = "") -> StoredVoice:
    """Wait until a voice is there, as another recording than this one, and its recording has been looked at."""

    def found() -> list[StoredVoice]:
        voices = system.voices._store.table.all(VoiceSource.DIRECTORY)
        return [voice for voice in voices if voice.name == name and voice.facts and voice.id != other_than]

    await system.voices.changed.until(lambda: bool(found()))
    return found()[0]


def test_audio_files_are_voices_under_their_names(path: Path, store: VoiceStore, files: VoiceDirectory) -> None:
    for name in ("anna.wav", "bea.flac", "carl.mp3", "dora.ogg", "emil.WAV"):
        (path / name).write_bytes(name.encode())
    files.sync()

    assert store.table.names() == ["anna", "bea", "carl", "dora", "emil"]
    anna = store.table.find("anna", field_path="voice")
    assert (anna.id, anna.source) == (voice_id(b"anna.wav"), VoiceSource.DIRECTORY)
    assert store.recording(anna) == b"anna.wav"


def test_what_is_no_voice_is_named_once_and_the_rest_loads(
    path: Path, store: VoiceStore, files: VoiceDirectory
) -> None:
    (path / "good.wav").write_bytes(b"good")
    (path / "notes.txt").write_bytes(b"notes")
    (path / "a voice.wav").write_bytes(b"spaces")
    (path / "large.wav").write_bytes(bytes(1001))
    (path / "folder.wav").mkdir()
    (path / "broken.wav").symlink_to(path / "nothing")
    os.mkfifo(path / "pipe.wav")
    (path / ".hidden.wav").write_bytes(b"hidden")

    first, second = skipped(files.sync), skipped(files.sync)
    assert store.table.names() == ["good"]
    assert set(first) == {"notes.txt", "a voice.wav", "large.wav", "folder.wav", "broken.wav", "pipe.wav"}
    assert all(first.values())
    assert second == {}


def test_link_to_a_recording_is_a_voice(tmp_path: Path, path: Path, store: VoiceStore, files: VoiceDirectory) -> None:
    (tmp_path / "elsewhere").write_bytes(b"voice")
    (path / "anna.wav").symlink_to(tmp_path / "elsewhere")
    files.sync()

    assert store.table.find("anna", field_path="voice").id == voice_id(b"voice")


def test_changed_file_is_another_voice_under_the_same_name(
    path: Path, store: VoiceStore, files: VoiceDirectory
) -> None:
    (path / "anna.wav").write_bytes(b"first")
    files.sync()
    (path / "anna.wav").write_bytes(b"second")
    changes = files.sync()

    assert store.table.find("anna", field_path="voice").id == voice_id(b"second")
    assert [voice.id for voice in changes.new] == [voice_id(b"second")]
    assert [voice.id for voice in changes.gone] == [voice_id(b"first")]
    assert files.sync() == type(changes)()


def test_file_that_vanishes_takes_its_voice_along(
    tmp_path: Path, path: Path, store: VoiceStore, files: VoiceDirectory
) -> None:
    (path / "anna.wav").write_bytes(b"anna")
    files.sync()
    store.put_features(voice_id(b"anna"), "r1", {})
    (path / "anna.wav").unlink()
    files.sync()

    assert store.table.names() == []
    assert list((tmp_path / "voices").iterdir()) == []


def test_directory_that_vanishes_takes_its_voices_along_until_it_is_back(
    tmp_path: Path, path: Path, store: VoiceStore, files: VoiceDirectory
) -> None:
    (path / "anna.wav").write_bytes(b"anna")
    files.sync()
    path.rename(tmp_path / "away")
    with capture_logs() as lines:
        files.sync()
        files.sync()

    assert store.table.names() == []
    assert [line["event"] for line in lines].count("voices_dir_gone") == 1
    (tmp_path / "away").rename(path)
    files.sync()
    assert store.table.names() == ["anna"]


def test_registered_voice_keeps_its_name(path: Path, store: VoiceStore, files: VoiceDirectory) -> None:
    mine = store.add(StoredVoice("anna", voice_id(b"mine")), b"mine")
    (path / "anna.wav").write_bytes(b"anna")

    assert set(skipped(files.sync)) == {"anna.wav"}
    assert skipped(files.sync) == {}
    assert store.table.find("anna", field_path="voice") == mine
    store.remove("anna")
    files.sync()
    assert store.table.find("anna", field_path="voice").id == voice_id(b"anna")


def test_one_of_two_files_of_a_name_is_the_voice(path: Path, store: VoiceStore, files: VoiceDirectory) -> None:
    (path / "anna.flac").write_bytes(b"flac")
    (path / "anna.wav").write_bytes(b"wav")

    assert set(skipped(files.sync)) == {"anna.wav"}
    (path / "anna.flac").unlink()
    files.sync()
    assert store.table.find("anna", field_path="voice").id == voice_id(b"wav")


def test_same_recording_under_the_same_name_is_nothing_to_tell(tmp_path: Path, path: Path, store: VoiceStore) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for each in (path, other):
        (each / "anna.wav").write_bytes(b"anna")
    first, second = directory(path, store), directory(other, store)
    first.sync()

    assert skipped(second.sync) == {}
    (other / "anna.wav").write_bytes(b"another anna")
    assert set(skipped(second.sync)) == {"anna.wav"}
    assert store.table.find("anna", field_path="voice").id == voice_id(b"anna")


def test_refused_file_is_no_voice_until_it_changes(path: Path, store: VoiceStore, files: VoiceDirectory) -> None:
    (path / "anna.wav").write_bytes(b"bad")
    files.sync()

    assert skipped(lambda: files.refuse(store.table.find("anna", field_path="voice"), "no audio")) == {
        "anna.wav": "no audio"
    }
    assert skipped(lambda: files.refuse(StoredVoice("anna", voice_id(b"bad"), path=path / "anna.wav"), "again")) == {}
    files.sync()
    assert store.table.names() == []
    (path / "anna.wav").write_bytes(b"good")
    files.sync()
    assert store.table.names() == ["anna"]


def test_directories_do_not_meddle_with_each_other(tmp_path: Path, path: Path, store: VoiceStore) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (path / "anna.wav").write_bytes(b"anna")
    (other / "bea.wav").write_bytes(b"bea")
    for each in (directory(path, store), directory(other, store), directory(path, store)):
        each.sync()

    assert store.table.names() == ["anna", "bea"]


def test_setting_that_names_no_directory_is_refused(tmp_path: Path, store: VoiceStore) -> None:
    (tmp_path / "file").write_bytes(b"")
    for bad in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(InvalidRequestError, match=bad.name) as failure:
            directory(bad, store).check(field_path="voices_dir")
        assert failure.value.field == "voices_dir"


async def test_start_is_refused_without_the_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as failure:
        async with voice_system(tmp_path, watched=tmp_path / "nothing"):
            pass

    assert failure.value.field == "voices_dir"


async def test_change_is_told_without_being_asked_and_after_the_directory_came_back(
    tmp_path: Path, path: Path, files: VoiceDirectory
) -> None:
    async def until(is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            async for _ in files.changed():
                files.sync()
                if is_true():
                    return

    names = files._store.table.names
    (path / "anna.wav").write_bytes(b"anna")
    await until(lambda: names() == ["anna"])
    os.rename(path, tmp_path / "away")  # noqa: PTH104 - a moment
    await until(lambda: names() == [])
    os.rename(tmp_path / "away", path)  # noqa: PTH104 - likewise
    await until(lambda: names() == ["anna"])


@given(st.text(max_size=70))
def test_name_that_is_allowed_is_never_a_path(name: str) -> None:
    if is_name(name):
        assert Path("voices", name).parent == Path("voices")
        assert Path(name).name == name


async def test_files_are_voices_at_the_start_and_when_they_come(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path) as system:
        assert system.voices.names() == ["anna", "first"]
        (path / "second.ogg").write_bytes(recording(400.0, kind="OGG"))
        second = await seen(system, "second")
        (path / "second.ogg").write_bytes(recording(500.0, kind="OGG"))
        await seen(system, "second", other_than=second.id)
        (path / "first.wav").unlink()
        await system.voices.changed.until(lambda: "first" not in system.voices.names())

        listed = (await system.stub.List(voices_pb2.ListVoicesRequest())).voices
        assert [(voice.name, voice.source) for voice in listed] == [
            ("anna", voices_pb2.VOICE_SOURCE_BUNDLED),
            ("second", voices_pb2.VOICE_SOURCE_DIRECTORY),
        ]


async def test_file_that_is_no_recording_is_not_listed(tmp_path: Path, path: Path) -> None:
    (path / "bad.wav").write_bytes(b"no audio")
    (path / "silent.wav").write_bytes(recording(0.0, kind="WAV"))
    (path / "good.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path) as system:
        listed = (await system.stub.List(voices_pb2.ListVoicesRequest())).voices

        assert [voice.name for voice in listed] == ["anna", "good"]
        assert system.voices.names() == ["anna", "good"]
        for name in ("bad", "../good", "/etc/passwd", "files/good", "good.wav"):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await system.stub.Get(voices_pb2.GetVoiceRequest(name=name))
            assert from_rpc_error(failure.value).reason is Reason.VOICE_NOT_FOUND


async def test_file_that_is_no_recording_is_one_line_in_the_log(tmp_path: Path, path: Path) -> None:
    (path / "bad.wav").write_bytes(b"no audio")
    with capture_logs() as lines:
        async with voice_system(tmp_path, watched=path) as system:
            await system.voices.prepare()
            await system.stub.List(voices_pb2.ListVoicesRequest())

    assert [line["event"] for line in lines if {"bad", "bad.wav"} & set(map(str, line.values()))] == [
        "voice_file_skipped"
    ]


async def test_features_of_a_file_are_ready_before_its_first_use(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path) as system:
        await system.voices.prepare()
        before = list(system.steps)
        await system.voices.features(system.voices.resolve("first", field_path=""), system.pipeline)

        assert before.count("style") >= 2
        assert system.steps == before


async def test_voice_of_a_file_that_vanished_in_use_has_gone_for_later_requests(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path) as system:
        await system.voices.prepare()
        in_use = system.voices.resolve("first", field_path="config.voice")
        (path / "first.wav").unlink()
        assert await system.voices.features(in_use, system.pipeline)
        await system.voices.changed.until(lambda: "first" not in system.voices.names())

        with pytest.raises(NotFoundError) as failure:
            system.voices.resolve("first", field_path="config.voice")
        assert failure.value.reason is Reason.VOICE_NOT_FOUND
        assert [voice.name for voice in (await system.stub.List(voices_pb2.ListVoicesRequest())).voices] == ["anna"]


async def test_default_may_be_a_file_and_falls_back_when_it_vanishes(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path, default="first") as system:
        assert system.voices.default_name() == "first"
        with capture_logs() as lines:
            (path / "first.wav").unlink()
            await system.voices.changed.until(lambda: "first" not in system.voices.names())
            assert {system.voices.default_name() for _ in range(3)} == {"anna"}
        anna = system.voices.resolve("anna", field_path="").id

        assert [line["default_voice_id"] for line in lines if line["event"] == "default_voice_gone"] == [anna]


async def test_voice_of_a_file_cannot_be_changed_by_a_call(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path, watched=path) as system:
        for call in (
            system.stub.Delete(voices_pb2.DeleteVoiceRequest(name="first")),
            system.stub.Update(voices_pb2.UpdateVoiceRequest(name="first", description="x")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert from_rpc_error(failure.value).reason is Reason.VOICE_READ_ONLY
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await create(system.stub, upload("first", recording(500.0)))
        assert from_rpc_error(failure.value).reason is Reason.VOICE_NAME_TAKEN


async def test_deleted_voice_gives_its_name_to_a_file(tmp_path: Path, path: Path) -> None:
    (path / "first.wav").write_bytes(recording(300.0, kind="WAV"))
    async with voice_system(tmp_path) as system:
        await system.stub.Create(upload("first", recording(500.0)))
    async with voice_system(tmp_path, watched=path) as system:
        await system.stub.Delete(voices_pb2.DeleteVoiceRequest(name="first"))

        voice = await system.stub.Get(voices_pb2.GetVoiceRequest(name="first"))
        assert voice.source == voices_pb2.VOICE_SOURCE_DIRECTORY
