"""`python -m bench.weights DIR`: fetches the published IndexTTS-2 checkpoint and what it needs.

Nothing is fetched before its licence is accepted. The commits and checksums that were fetched are
written to DIR/weights.lock.json; where that file exists, exactly those are fetched and checked again,
so a copy of it pins another machine to the same bytes. Downloads resume, and go through
huggingface_hub's cache (HF_HOME, HF_ENDPOINT, HF_TOKEN).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from services.common.checkpoint import CheckpointError, CheckpointFiles, load_config
from services.vocoder_worker.model.manifest import read_manifest

LOCK_NAME = "weights.lock.json"
_BLOCK_BYTES = 1 << 20
_PAUSES_SECONDS = (1, 3, 10)
_MARGIN_BYTES = 1 << 30
"""Room for vocoder.onnx and what the file system itself needs."""

_TERMS = """\
IndexTTS-2 is published under the "bilibili Model Use License Agreement". Among its terms:
  - it covers the weights and is revocable;
  - above 100 million monthly users or 1 billion RMB of yearly revenue a separate licence is needed;
  - derivative works must say what they derive from;
  - outputs may not be used to improve other commercial AI models.
The publisher's own text, which alone is binding:"""


@dataclass(frozen=True)
class Source:
    """A repository, and where its files go in the checkpoint directory."""

    repository: str
    licence: str
    files: tuple[tuple[str, str], ...]
    """Path in the repository and path in the directory; a path that ends in / is a folder."""
    optional: tuple[tuple[str, str], ...] = ()
    """Likewise; taken when the repository has it."""


_MODEL = "IndexTeam/IndexTTS-2"
_MODEL_FILES = (
    "config.yaml",
    "bpe.model",
    "gpt.pth",
    "s2mel.pth",
    "wav2vec2bert_stats.pt",
    "feat1.pt",
    "feat2.pt",
)
_W2V = "hf_cache/w2v-bert-2.0"

SOURCES = (
    Source(
        _MODEL,
        "bilibili Model Use License Agreement",
        tuple((name, name) for name in _MODEL_FILES),
        (("glossary.yaml", "glossary.yaml"), ("pinyin.vocab", "pinyin.vocab")),
    ),
    Source(
        "facebook/w2v-bert-2.0",
        "MIT",
        (("config.json", f"{_W2V}/config.json"), ("model.safetensors", f"{_W2V}/model.safetensors")),
        (("preprocessor_config.json", f"{_W2V}/preprocessor_config.json"),),
    ),
    Source(
        "amphion/MaskGCT",
        "its model card says which",
        (("semantic_codec/model.safetensors", "hf_cache/semantic_codec_model.safetensors"),),
    ),
    Source("funasr/campplus", "Apache-2.0", (("campplus_cn_common.bin", "hf_cache/campplus_cn_common.bin"),)),
    Source(
        "nvidia/bigvgan_v2_22khz_80band_256x",
        "MIT",
        (
            ("config.json", "hf_cache/bigvgan/config.json"),
            ("bigvgan_generator.pt", "hf_cache/bigvgan/bigvgan_generator.pt"),
        ),
    ),
)
_TEXT_EMOTION = Source(_MODEL, "", (("qwen0.6bemo4-merge/", "qwen0.6bemo4-merge/"),))


class WeightsError(Exception):
    """The checkpoint cannot be fetched; the text says why."""


@dataclass(frozen=True)
class File:
    """One file to have: where it comes from, where it goes and what it must be."""

    repository: str
    revision: str
    path: str
    target: str
    size: int
    sha256: str
    """Empty until the file was fetched, where the hub knows only a git checksum."""
    git_sha1: str = ""


def main() -> int:
    arguments = _parser().parse_args()
    try:
        fetch(
            arguments.directory,
            is_accepted=arguments.accept_licence,
            has_text_emotion=arguments.text_emotion,
        )
        if not arguments.no_export:
            export(arguments.directory)
    except WeightsError as error:
        print(f"weights: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


def fetch(directory: Path, *, is_accepted: bool = False, has_text_emotion: bool = False) -> None:
    """Make `directory` hold every file, checked.

    Raises:
        WeightsError: if the licence is not accepted, the hub does not answer, the disk is too small
            or a file is not what it should be.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - reads HF_* when it is imported, and is slow to
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    lock = directory / LOCK_NAME
    try:
        wanted = _read_lock(lock) if lock.is_file() else []
        if wanted:
            print(f"{lock} names {len(wanted)} files at the commits that it pins")
            missing = [file for file in wanted if not _is_right(directory / file.target, file)]
            if not missing:
                print("all of them are here and have the right checksums")
                return
        else:
            print("no lock file: taking the newest commit of each repository and writing it down")
        api = HfApi()
        if not is_accepted:
            _ask_for_acceptance(api)
        wanted = wanted or list(_resolve(api, has_text_emotion=has_text_emotion))
        missing = [file for file in wanted if not _is_right(directory / file.target, file)]
        _check_room(directory, missing)
        done = {file.target: file for file in wanted if file not in missing}
        for number, file in enumerate(missing, 1):
            print(f"[{number}/{len(missing)}] {file.repository} {file.path}, {file.size / 1e6:.1f} MB")
            done[file.target] = _fetch_one(directory, file)
        _write_lock(lock, [done[file.target] for file in wanted])
    except (HfHubHTTPError, RequestException, OfflineModeIsEnabled) as error:
        raise WeightsError(f"the hub did not answer as it should: {_first_line(error)}") from error
    except OSError as error:
        raise WeightsError(_first_line(error)) from error
    print(f"{len(wanted)} files, checked; commits and checksums are in {lock}")


def _ask_for_acceptance(api: Any) -> None:
    """Show every licence and wait for a yes."""
    print(_TERMS)
    texts = [name for name in api.list_repo_files(_MODEL) if _is_licence(name)]
    for name in texts:
        path = Path(api.hf_hub_download(_MODEL, name))
        print(f"\n----- {_MODEL}/{name} -----\n{path.read_text('utf-8', errors='replace')}")
    if not texts:
        print(f"  (the repository has no licence file; see {api.endpoint}/{_MODEL})")
    print("The other parts:")
    for source in SOURCES[1:]:
        print(f"  {source.repository}: {source.licence}")
    if not sys.stdin.isatty():
        raise WeightsError("no terminal to ask on: accept with --accept-licence (ACCEPT=yes for make)")
    if input("Do you accept these terms? [yes/no] ").strip().lower() != "yes":
        raise WeightsError("not accepted; nothing was fetched")


def _is_licence(name: str) -> bool:
    return "/" not in name and ("LICENSE" in name.upper() or "LICENCE" in name.upper())


def _resolve(api: Any, *, has_text_emotion: bool) -> Iterator[File]:
    """Ask the hub for the newest commits and the sizes and checksums of their files."""
    for source in (*SOURCES, _TEXT_EMOTION) if has_text_emotion else SOURCES:
        revision = api.model_info(source.repository, revision="main").sha
        entries = {
            entry.path: entry
            for entry in api.list_repo_tree(source.repository, revision=revision, recursive=True)
            if hasattr(entry, "blob_id")
        }
        for path, target in (*source.files, *source.optional):
            found = [name for name in entries if name == path or (path.endswith("/") and name.startswith(path))]
            if not found and (path, target) in source.files:
                raise WeightsError(f"{source.repository} has no {path} at commit {revision}")
            for name in found:
                entry = entries[name]
                yield File(
                    repository=source.repository,
                    revision=revision,
                    path=name,
                    target=target + name.removeprefix(path),
                    size=entry.size,
                    sha256=entry.lfs.sha256 if entry.lfs else "",
                    git_sha1="" if entry.lfs else entry.blob_id,
                )


def _fetch_one(directory: Path, file: File) -> File:
    """Bring one file into `directory` and return it with its SHA-256."""
    # A damaged file in the cache is removed and fetched once more.
    for _ in range(2):
        cached = _download(file)
        if _is_right(cached, file):
            break
        cached.unlink()
    else:
        raise WeightsError(f"{file.repository} {file.path} has not the checksum that the hub announced")
    target = directory / file.target
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(cached, target)
    except OSError:
        # Another file system than the cache's.
        part = target.with_name(target.name + ".part")
        shutil.copyfile(cached, part)
        part.replace(target)
    return File(**asdict(file) | {"sha256": _sha256(target)})


def _download(file: File) -> Path:
    """Bring one file into the cache; a connection that breaks is taken up where it broke."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from requests.exceptions import ChunkedEncodingError, ConnectionError  # noqa: A004, PLC0415

    for pause_seconds in (*_PAUSES_SECONDS, None):
        try:
            return Path(hf_hub_download(file.repository, file.path, revision=file.revision)).resolve()
        except (ChunkedEncodingError, ConnectionError) as error:
            if pause_seconds is None:
                raise
            print(f"  {_first_line(error)}; going on in {pause_seconds} s")
            time.sleep(pause_seconds)
    raise AssertionError("unreachable")


def _is_right(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _sha256(path) == file.sha256
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.git_sha1


def _check_room(directory: Path, missing: list[File]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    needed = sum(file.size for file in missing) + _MARGIN_BYTES if missing else 0
    free = shutil.disk_usage(directory).free
    print(f"{len(missing)} files to fetch, {sum(file.size for file in missing) / 1e9:.2f} GB")
    if needed > free:
        raise WeightsError(f"{directory} has room for {free / 1e9:.1f} GB and needs {needed / 1e9:.1f} GB")


def _read_lock(path: Path) -> list[File]:
    try:
        entries = json.loads(path.read_text("utf-8"))["files"]
        files = [File(**entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: {error}; remove it to take the newest commits") from None
    for file in files:
        if PurePosixPath(file.target).is_absolute() or ".." in PurePosixPath(file.target).parts:
            raise WeightsError(f"{path}: {file.target} lies outside the directory")
    return files


def _write_lock(path: Path, files: list[File]) -> None:
    content = {"files": [asdict(file) for file in sorted(files, key=lambda file: file.target)]}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def export(directory: Path) -> None:
    """Make vocoder.onnx unless there is one that was made of this directory's weights.

    Raises:
        WeightsError: if it cannot be made.
    """
    try:
        read_manifest(CheckpointFiles.locate(directory, load_config(directory)))
    except CheckpointError:
        # It is missing, or was made of another generator; the export says when something else is wrong.
        print("making vocoder.onnx")
    else:
        print("vocoder.onnx is here already, made from these weights")
        return
    command = [sys.executable, "-m", "services.vocoder_worker.export", str(directory)]
    if subprocess.run(command, check=False).returncode != 0:
        raise WeightsError("vocoder.onnx could not be made; the lines above say why")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--accept-licence", action="store_true", help="accept the terms without being asked")
    parser.add_argument("--text-emotion", action="store_true", help="also fetch the text-to-emotion model")
    parser.add_argument("--no-export", action="store_true", help="do not make vocoder.onnx")
    return parser


if __name__ == "__main__":
    sys.exit(main())
