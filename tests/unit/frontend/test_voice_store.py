"""Voices on disk: by content, under names, across restarts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from services.frontend.recording import RecordingFacts
from services.frontend.voice_store import VoiceStore, check_name, voice_id
from tests.fakes.system import bundled

FACTS = RecordingFacts(3.0, 3.0, 16_000, 1, ("quiet",))
FEATURES = {"style": np.arange(4, dtype=np.float32), "codes": np.arange(3, dtype=np.int32)}


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    return VoiceStore(tmp_path / "voices")


def test_voice_survives_a_restart(tmp_path: Path, store: VoiceStore) -> None:
    voice = store.add("anna", b"recording", FACTS)
    store.put_features(voice.id, "r1", FEATURES)

    again = VoiceStore(tmp_path / "voices")
    found = again.find("anna", field_path="voice")
    assert found == voice
    assert found.facts == FACTS
    assert again.recording(found) == b"recording"
    features = again.features(voice.id, "r1")
    assert features is not None
    for name, value in FEATURES.items():
        np.testing.assert_array_equal(features[name], value)
        assert features[name].dtype == value.dtype
    assert again.features(voice.id, "r2") is None


def test_id_is_the_hash_of_the_recording_and_finds_the_voice(store: VoiceStore) -> None:
    voice = store.add("anna", b"recording", FACTS)

    assert voice.id == voice_id(b"recording")
    assert store.find(voice.id, field_path="voice") == voice


def test_same_recording_under_two_names_is_one_voice(tmp_path: Path, store: VoiceStore) -> None:
    first = store.add("anna", b"recording", FACTS)
    store.put_features(first.id, "r1", FEATURES)
    second = store.add("bea", b"recording", FACTS)
    assert second.id == first.id
    store.remove("anna")

    assert store.names() == ["bea"]
    assert store.features(first.id, "r1") is not None
    store.remove("bea")
    assert not (tmp_path / "voices" / first.id).exists()
    assert VoiceStore(tmp_path / "voices").names() == []


def test_name_of_another_recording_is_taken(store: VoiceStore) -> None:
    store.add("anna", b"recording", FACTS)
    assert store.add("anna", b"recording", FACTS).names == ("anna",)

    with pytest.raises(AlreadyExistsError):
        store.add("anna", b"another", FACTS)


def test_unknown_voice_lists_a_few_that_there_are(store: VoiceStore) -> None:
    for name in ("anna", "bea"):
        store.add(name, name.encode(), FACTS)

    with pytest.raises(NotFoundError, match="anna, bea") as failure:
        store.find("carl", field_path="config.voice")
    assert failure.value.field == "config.voice"


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "../up", "a/b", ".", "..", "ä", "a\n", "f" * 64])
def test_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_name(name, field_path="config.name")


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 64])
def test_name_that_is_one_is_accepted(name: str) -> None:
    check_name(name, field_path="config.name")


def test_path_in_place_of_a_name_reaches_no_file(store: VoiceStore) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "recording"):
        with pytest.raises(NotFoundError):
            store.find(name, field_path="config.voice")


def test_revision_of_a_worker_is_never_a_path(tmp_path: Path, store: VoiceStore) -> None:
    voice = store.add("anna", b"recording", FACTS)
    store.put_features(voice.id, "../../evil", FEATURES)

    assert store.features(voice.id, "../../evil") is not None
    assert not list(tmp_path.glob("evil*"))
    assert {path.parent.name for path in tmp_path.rglob("features-*")} == {voice.id}


def test_bundled_voices_are_read_only_and_sorted(tmp_path: Path, store: VoiceStore) -> None:
    directory = bundled(tmp_path)
    (directory / "zoe.wav").write_bytes(b"zoe")
    (directory / "notes.txt").write_text("no voice")

    assert store.add_bundled(directory) == ["anna", "zoe"]
    with pytest.raises(InvalidRequestError) as failure:
        store.remove("anna")
    assert failure.value.reason == "VOICE_READ_ONLY"
    with pytest.raises(AlreadyExistsError):
        store.add("anna", b"another", FACTS)


def test_own_name_for_a_bundled_recording_survives_a_restart(tmp_path: Path, store: VoiceStore) -> None:
    directory = bundled(tmp_path)
    store.add_bundled(directory)
    store.add("mine", (directory / "anna.flac").read_bytes(), FACTS)

    again = VoiceStore(tmp_path / "voices")
    assert again.names() == ["mine"]
    again.add_bundled(directory)
    again.remove("mine")
    assert again.names() == ["anna"]
    assert again.recording(again.find("anna", field_path="voice"))


def test_damaged_files_cost_one_voice_and_not_the_start(tmp_path: Path, store: VoiceStore) -> None:
    good, bad = store.add("good", b"good", FACTS), store.add("bad", b"bad", FACTS)
    store.put_features(good.id, "r1", FEATURES)
    (tmp_path / "voices" / bad.id / "voice.json").write_text("{")
    (tmp_path / "voices" / good.id / "features-r1.npz").write_bytes(b"broken")

    again = VoiceStore(tmp_path / "voices")
    assert again.names() == ["good"]
    assert again.features(good.id, "r1") is None


def test_features_that_come_after_a_removal_are_not_kept(tmp_path: Path, store: VoiceStore) -> None:
    voice = store.add("anna", b"recording", FACTS)
    assert store.put_features(voice.id, "r1", FEATURES)
    store.remove("anna")

    assert not store.put_features(voice.id, "r1", FEATURES)
    with pytest.raises(NotFoundError):
        store.set_facts(voice.id, FACTS)
    assert not (tmp_path / "voices" / voice.id).exists()


def test_one_of_two_recordings_wins_a_name(tmp_path: Path, store: VoiceStore) -> None:
    start = threading.Barrier(8)

    def add(number: int) -> bool:
        start.wait()
        try:
            store.add("anna", b"%d" % number, FACTS)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(add, range(8)))

    assert sum(wins) == 1
    assert [path.name for path in (tmp_path / "voices").iterdir()] == [voice_id(b"%d" % wins.index(True))]


def test_nothing_half_written_is_left(tmp_path: Path, store: VoiceStore) -> None:
    voice = store.add("anna", b"recording", FACTS)
    with pytest.raises(TypeError):
        store.put_features(voice.id, "r1", 5)  # type: ignore[arg-type]

    assert sorted(path.name for path in (tmp_path / "voices" / voice.id).iterdir()) == ["recording", "voice.json"]
