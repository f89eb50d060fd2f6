"""Makes a directory hold every file of the checkpoint, checked."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.weights.errors import WeightsError, first_line
from bench.weights.hub import ask_for_acceptance, fetch_one, resolve
from bench.weights.lock import LOCK_NAME, File, is_right, read_lock, write_lock

_MARGIN_BYTES = 1 << 30
"""Room for vocoder.onnx and what the file system itself needs."""


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
        wanted = read_lock(lock) if lock.is_file() else []
        if wanted:
            print(f"{lock} names {len(wanted)} files at the commits that it pins")
            missing = [file for file in wanted if not is_right(directory / file.target, file)]
            if not missing:
                print("all of them are here and have the right checksums")
                return
        else:
            print("no lock file: taking the newest commit of each repository and writing it down")
        api = HfApi()
        if not is_accepted:
            ask_for_acceptance(api)
        wanted = wanted or list(resolve(api, has_text_emotion=has_text_emotion))
        missing = [file for file in wanted if not is_right(directory / file.target, file)]
        _check_room(directory, missing)
        done = {file.target: file for file in wanted if file not in missing}
        for number, file in enumerate(missing, 1):
            print(f"[{number}/{len(missing)}] {file.repository} {file.path}, {file.size / 1e6:.1f} MB")
            done[file.target] = fetch_one(directory, file)
        write_lock(lock, [done[file.target] for file in wanted])
    except (HfHubHTTPError, RequestException, OfflineModeIsEnabled) as error:
        raise WeightsError(f"the hub did not answer as it should: {first_line(error)}") from error
    except OSError as error:
        raise WeightsError(first_line(error)) from error
    print(f"{len(wanted)} files, checked; commits and checksums are in {lock}")


def _check_room(directory: Path, missing: list[File]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    needed = sum(file.size for file in missing) + _MARGIN_BYTES if missing else 0
    free = shutil.disk_usage(directory).free
    print(f"{len(missing)} files to fetch, {sum(file.size for file in missing) / 1e9:.2f} GB")
    if needed > free:
        raise WeightsError(f"{directory} has room for {free / 1e9:.1f} GB and needs {needed / 1e9:.1f} GB")
