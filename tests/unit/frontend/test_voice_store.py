"""Voices on disk: by content, under names, across restarts."""

from __future__ import annotations

import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import AlreadyExistsError, InvalidRequestError, NotFoundError, TtsError
from services.common.reasons import Reason
from services.frontend.recordings.facts import RecordingFacts, VoiceWarning, VoiceWarningReason
from services.frontend.voices.feature_files import feature_key
from services.frontend.voices.record import StoredVoice, VoiceSource, check_name, voice_id
from services.frontend.voices.store import VoiceStore

FACTS = RecordingFacts(3.0, 3.0, 16_000, 1, (VoiceWarning(VoiceWarningReason.CLIPPED, "too loud"),))
FEATURES = {"style": np.arange(4, dtype=np.float32), "codes": np.arange(3, dtype=np.int32)}


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    return VoiceStore(tmp_path / "voices")


def add(store: VoiceStore, name: str, recording: bytes = b"recording", **said: str) -> StoredVoice:
    return store.add(StoredVoice(name, voice_id(recording), facts=FACTS, **said), recording)  # type: ignore[arg-type]


def put_file(store: VoiceStore, path: Path, recording: bytes, source: VoiceSource) -> StoredVoice | None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(recording)
    return store.put_file(StoredVoice(path.stem, voice_id(recording), source, path=path))


def find(store: VoiceStore, name: str) -> StoredVoice:
    return store.table.find(name, field_path="config.voice")


def folder(tmp_path: Path, voice: StoredVoice) -> Path:
    return tmp_path / "voices" / voice.id


def test_voice_survives_a_restart(tmp_path: Path, store: VoiceStore) -> None:
    voice = add(store, "anna", transcript="Hello.", description="A friend.")
    store.put_features(voice.id, "r1", FEATURES)

    again = VoiceStore(tmp_path / "voices")
    found = find(again, "anna")
    assert found == voice
    assert found.facts == FACTS
    assert (found.transcript, found.description) == ("Hello.", "A friend.")
    assert again.recording(found) == b"recording"
    features = again.features(voice.id, "r1")
    assert features is not None
    for name, value in FEATURES.items():
        np.testing.assert_array_equal(features[name], value)
        assert features[name].dtype == value.dtype
    assert again.features(voice.id, "r2") is None


def test_id_is_the_hash_of_the_recording_and_finds_the_voice(store: VoiceStore) -> None:
    voice = add(store, "anna")

    assert voice.id == voice_id(b"recording")
    assert find(store, voice.id) == voice


def test_same_recording_under_two_names_is_one_voice(tmp_path: Path, store: VoiceStore) -> None:
    first = add(store, "anna")
    store.put_features(first.id, "r1", FEATURES)
    second = add(store, "bea")
    assert second.id == first.id
    store.remove("anna")

    assert store.table.names() == VoiceStore(tmp_path / "voices").table.names() == ["bea"]
    assert store.features(first.id, "r1") is not None
    store.remove("bea")
    assert not folder(tmp_path, first).exists()
    assert VoiceStore(tmp_path / "voices").table.names() == []


def test_name_of_another_recording_is_taken(store: VoiceStore) -> None:
    first = add(store, "anna", transcript="Hello.")
    assert add(store, "anna") == first

    with pytest.raises(AlreadyExistsError) as failure:
        add(store, "anna", b"another")
    assert failure.value.reason is Reason.VOICE_NAME_TAKEN


def test_same_name_and_recording_again_says_anew_what_is_given(tmp_path: Path, store: VoiceStore) -> None:
    add(store, "anna", transcript="Hello.", description="A friend.")
    add(store, "anna", transcript="Hallo.")

    found = find(VoiceStore(tmp_path / "voices"), "anna")
    assert (found.transcript, found.description) == ("Hallo.", "A friend.")


def test_unknown_voice_lists_a_few_that_there_are(store: VoiceStore) -> None:
    for name in ("anna", "bea"):
        add(store, name, name.encode())

    with pytest.raises(NotFoundError, match="anna, bea") as failure:
        find(store, "carl")
    assert failure.value.field == "config.voice"
    assert failure.value.reason is Reason.VOICE_NOT_FOUND


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "../up", "a/b", ".", "..", "ä", "a\n", "f" * 64])
def test_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as failure:
        check_name(name, field_path="config.name")

    assert failure.value.reason is Reason.VOICE_NAME_INVALID


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 64])
def test_name_that_is_one_is_accepted(name: str) -> None:
    check_name(name, field_path="config.name")


def test_path_in_place_of_a_name_reaches_no_file(store: VoiceStore) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "recording", "a/b"):
        with pytest.raises(NotFoundError):
            find(store, name)


def test_revision_of_a_worker_is_never_a_path(tmp_path: Path, store: VoiceStore) -> None:
    voice = add(store, "anna")
    store.put_features(voice.id, "../../evil", FEATURES)

    assert store.features(voice.id, "../../evil") is not None
    assert not list(tmp_path.glob("evil*"))
    assert {path.parent.name for path in tmp_path.rglob("features-*")} == {voice.id}


@pytest.mark.parametrize("source", [VoiceSource.BUNDLED, VoiceSource.DIRECTORY])
def test_voice_that_is_a_file_is_read_only(tmp_path: Path, store: VoiceStore, source: VoiceSource) -> None:
    put_file(store, tmp_path / "files" / "anna.wav", b"file", source)

    for change in (partial(store.remove, "anna"), partial(store.update, "anna", replace)):
        with pytest.raises(InvalidRequestError) as failure:
            change()
        assert failure.value.reason is Reason.VOICE_READ_ONLY
    with pytest.raises(AlreadyExistsError):
        add(store, "anna", b"another")
    assert store.recording(find(store, "anna")) == b"file"


def test_own_name_for_a_file_survives_a_restart_and_keeps_the_file_from_being_copied_for_ever(
    tmp_path: Path, store: VoiceStore
) -> None:
    file = tmp_path / "files" / "anna.wav"
    put_file(store, file, b"file", VoiceSource.BUNDLED)
    mine = add(store, "mine", b"file")

    again = VoiceStore(tmp_path / "voices")
    assert again.table.names() == ["mine"]
    put_file(again, file, b"file", VoiceSource.BUNDLED)
    assert find(again, mine.id).source is VoiceSource.REGISTERED
    again.put_features(mine.id, "r1", FEATURES)
    again.remove("mine")
    assert again.table.names() == ["anna"]
    assert again.recording(find(again, "anna")) == b"file"
    assert not (folder(tmp_path, mine) / "recording").exists()
    assert again.features(mine.id, "r1") is not None


def test_registered_voice_keeps_its_name_from_a_file(tmp_path: Path, store: VoiceStore) -> None:
    mine = add(store, "anna")

    assert put_file(store, tmp_path / "files" / "anna.wav", b"file", VoiceSource.DIRECTORY) is None
    assert find(store, "anna") == mine


def test_recording_that_has_changed_or_gone_is_said_to_have_gone(tmp_path: Path, store: VoiceStore) -> None:
    file = tmp_path / "files" / "anna.wav"
    voice = put_file(store, file, b"file", VoiceSource.DIRECTORY)
    assert voice is not None
    for damage in (lambda: file.write_bytes(b"another"), file.unlink):
        damage()
        with pytest.raises(NotFoundError) as failure:
            store.recording(voice)
        assert failure.value.reason is Reason.RECORDING_GONE


def test_damaged_files_cost_one_voice_and_not_the_start(tmp_path: Path, store: VoiceStore) -> None:
    good, bad, worse = (add(store, name, name.encode()) for name in ("good", "bad", "worse"))
    store.put_features(good.id, "r1", FEATURES)
    (folder(tmp_path, bad) / "voice.json").write_text("{")
    (folder(tmp_path, worse) / "voice.json").write_text('{"names": 5, "facts": null}')
    (folder(tmp_path, good) / "features-r1.npz").write_bytes(b"broken")

    again = VoiceStore(tmp_path / "voices")
    assert again.table.names() == ["good"]
    assert again.features(good.id, "r1") is None


@pytest.mark.parametrize(
    ("facts", "is_known"),
    [
        ({"duration_seconds": 3.0, "used_seconds": 3.0, "sample_rate_hz": 16000, "channels": 1}, True),
        ({**FACTS.to_json(), "warnings": ["it is clipped"]}, False),
        (None, False),
    ],
    ids=["no warnings", "warnings without reasons", "no facts"],
)
def test_voice_of_an_older_form_loads(tmp_path: Path, store: VoiceStore, facts: object, is_known: bool) -> None:
    voice = add(store, "anna")
    (folder(tmp_path, voice) / "voice.json").write_text(json.dumps({"names": ["anna", "../up"], "facts": facts}))

    again = VoiceStore(tmp_path / "voices")
    assert again.table.names() == ["anna"]
    assert (find(again, "anna").facts is not None) == is_known


def test_features_that_come_after_a_removal_are_not_kept(tmp_path: Path, store: VoiceStore) -> None:
    voice = add(store, "anna")
    assert store.put_features(voice.id, "r1", FEATURES)
    store.remove("anna")

    assert not store.put_features(voice.id, "r1", FEATURES)
    store.set_facts(voice.id, FACTS)
    assert not folder(tmp_path, voice).exists()


def test_one_of_two_recordings_wins_a_name(tmp_path: Path, store: VoiceStore) -> None:
    start = threading.Barrier(8)

    def try_to_add(number: int) -> bool:
        start.wait()
        try:
            add(store, "anna", b"%d" % number)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(try_to_add, range(8)))

    assert sum(wins) == 1
    assert [path.name for path in (tmp_path / "voices").iterdir()] == [voice_id(b"%d" % wins.index(True))]


def test_nothing_half_written_is_left(tmp_path: Path, store: VoiceStore) -> None:
    voice = add(store, "anna")
    with pytest.raises(TypeError):
        store.put_features(voice.id, "r1", 5)  # type: ignore[arg-type]

    assert sorted(path.name for path in folder(tmp_path, voice).iterdir()) == ["recording", "voice.json"]


def test_update_changes_what_is_given_and_survives_a_restart(tmp_path: Path, store: VoiceStore) -> None:
    add(store, "anna", transcript="Hello.", description="A friend.")
    add(store, "also", b"recording", transcript="Hello.")
    store.update("anna", lambda voice: replace(voice, name="ann", transcript="Hallo."))

    again = VoiceStore(tmp_path / "voices")
    assert again.table.names() == ["also", "ann"]
    assert (find(again, "ann").transcript, find(again, "ann").description) == ("Hallo.", "A friend.")
    assert find(again, "also").transcript == "Hello."


def test_new_name_must_be_free(store: VoiceStore) -> None:
    for name in ("anna", "bea"):
        add(store, name, name.encode())

    with pytest.raises(AlreadyExistsError) as failure:
        store.update("anna", lambda voice: replace(voice, name="bea"))
    assert failure.value.field == "new_name"
    assert store.table.names() == ["anna", "bea"]


def test_voice_is_changed_and_deleted_by_its_name_alone(store: VoiceStore) -> None:
    voice = add(store, "anna")

    for change in (partial(store.remove, voice.id), partial(store.update, voice.id, replace)):
        with pytest.raises(InvalidRequestError, match="anna"):
            change()


def test_features_of_a_transcript_go_with_its_last_use(store: VoiceStore) -> None:
    voice = add(store, "anna", transcript="Hello.")
    add(store, "also", transcript="Hello.")
    key = feature_key("r1", "Hello.")
    store.put_features(voice.id, key, FEATURES)
    store.put_features(voice.id, "r1", FEATURES)

    store.update("anna", lambda voice: replace(voice, transcript="Hallo."))
    assert store.features(voice.id, key) is not None
    store.update("also", lambda voice: replace(voice, transcript=""))
    assert store.features(voice.id, key) is None
    assert store.features(voice.id, "r1") is not None


def fail_after(monkeypatch: pytest.MonkeyPatch, num_writes: int) -> None:
    """Let so many files take their places; then the disk is full."""
    replace_file, left = Path.replace, [num_writes]

    def replace_or_fail(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_fail)


@pytest.mark.parametrize("num_writes", [0, 1, 2])
def test_full_disk_registers_nothing(
    tmp_path: Path, store: VoiceStore, monkeypatch: pytest.MonkeyPatch, num_writes: int
) -> None:
    fail_after(monkeypatch, num_writes)
    with pytest.raises(TtsError, match="full") as failure:
        store.add(StoredVoice("anna", voice_id(b"x"), facts=FACTS), b"x", {"r1": FEATURES})

    assert failure.value.reason is Reason.STORE_FAILED
    assert store.table.names() == []
    assert list((tmp_path / "voices").iterdir()) == []


def test_full_disk_changes_nothing(tmp_path: Path, store: VoiceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(store, "anna", description="A friend.")
    add(store, "also")
    fail_after(monkeypatch, 0)

    for change in (
        lambda: store.update("anna", lambda voice: replace(voice, name="ann")),
        lambda: store.remove("also"),
        lambda: store.put_default_name("anna"),
        lambda: add(store, "more"),
    ):
        with pytest.raises(TtsError) as failure:
            change()
        assert failure.value.reason is Reason.STORE_FAILED
    assert store.table.names() == VoiceStore(tmp_path / "voices").table.names() == ["also", "anna"]
    assert store.recording(first) == b"recording"


def test_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TtsError) as failure:
        VoiceStore(tmp_path / "file" / "voices")

    assert (failure.value.reason, failure.value.field) == (Reason.STORE_FAILED, "voice_store")


def test_facts_are_used_even_when_they_cannot_be_kept(
    tmp_path: Path, store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = put_file(store, tmp_path / "files" / "anna.wav", b"file", VoiceSource.BUNDLED)
    assert voice is not None
    assert voice.facts is None
    fail_after(monkeypatch, 0)
    store.set_facts(voice.id, FACTS)

    assert find(store, "anna").facts == FACTS


def test_facts_of_a_file_survive_a_restart(tmp_path: Path, store: VoiceStore) -> None:
    file = tmp_path / "files" / "anna.wav"
    put_file(store, file, b"file", VoiceSource.BUNDLED)
    store.set_facts(voice_id(b"file"), FACTS)

    again = VoiceStore(tmp_path / "voices")
    assert again.table.names() == []
    put_file(again, file, b"file", VoiceSource.BUNDLED)
    assert find(again, "anna").facts == FACTS
