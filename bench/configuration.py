"""`python -m bench.configuration`: docs/configuration.md, and the names that every process knows of the others.

Both are made from the settings classes; `--check` only says whether they are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from services.common.settings import ServiceSettings, Table
from services.common.settings.fields import (
    SHARED_PREFIX,
    flag_of,
    is_secret,
    prefix_of,
    process_of,
    tables_of,
    variable_of,
)
from services.common.settings.shown import to_toml
from services.frontend.settings import FrontendSettings
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.vocoder_worker.settings import VocoderWorkerSettings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
KNOWN = ROOT / "services" / "common" / "settings" / "known.py"
CLASSES: tuple[type[ServiceSettings], ...] = (
    FrontendSettings,
    GptWorkerSettings,
    S2MelWorkerSettings,
    VocoderWorkerSettings,
)

_INTRODUCTION = """\
# Configuration

Made from the settings classes by `make configuration`; do not edit.

Each process reads a flag, then the environment, then the file that `--config FILE.toml` names, then the default; the
first that has a value wins. `--print-config` prints what is in effect as TOML, with the source of each value as a
comment and without secrets, and ends. `--help` lists the flags.

**Environment.** A process's own variable (`TTS_GPT_SLOTS`) wins over the one that all processes share (`TTS_SLOTS`).
The tables below name the own ones; leave out the process's name for the shared one. An empty variable counts as unset.
The variables of secrets are removed from the environment once they are read.

**File.** One file may serve several processes: `[model]`, `[runtime]` and `[server]` hold for each process that has the
setting, and a table such as `[runtime.gpt]` holds for that process alone and wins. The processes are called PROCESSES.

```toml
[model]
model_dir = "models/mini"

[runtime]
slots = 4              # of every worker

[runtime.gpt]
slots = 8              # of the gpt worker

[server]
log_level = "warning"

[server.frontend]
address = "0.0.0.0:50051"
```

**Mistakes** stop the start with exit code 2 and one screen that names every wrong setting, where it was written, its
value and what is allowed. A name that is no setting is refused with the nearest one that is: among the flags, in the
file, and among variables with the process's own prefix. A shared variable (`TTS_…`) is refused only when it looks like
a misspelt setting of this process.

**Kubernetes** sets variables named after Services (`TTS_GPT_PORT` for a Service called `tts-gpt`), which look like
misspelt settings: put `enableServiceLinks: false` into the pods.

A list is written with commas in a flag or a variable (`a:1,b:2`) and as an array in the file (`["a:1", "b:2"]`).
"""

_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def page() -> str:
    """Return docs/configuration.md."""
    processes = ", ".join(f"`{process_of(cls)}`" for cls in CLASSES)
    return "\n".join([_INTRODUCTION.replace("PROCESSES", processes), *(_section(cls) for cls in CLASSES)])


def known() -> str:
    """Return the module of names; formatted as ruff would."""
    lines = [
        '"""The settings of every process, by process and table; made by `make configuration`, do not edit.',
        "",
        "Processes may share a file and an environment, and none may import another: this is how one tells",
        "a setting of another process from a misspelt one.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "KNOWN: dict[str, dict[str, tuple[str, ...]]] = {",
    ]
    for cls in CLASSES:
        lines.append(f'    "{process_of(cls)}": {{')
        tables = tables_of(cls)
        for table in Table:
            names = [f'"{name}",' for name, its_table in tables.items() if its_table == table]
            if len(names) == 1:
                lines.append(f'        "{table}": ({names[0]}),')
            else:
                lines += [f'        "{table}": (', *(f"            {name}" for name in names), "        ),"]
        lines.append("    },")
    return "\n".join([*lines, "}"]) + "\n"


def _section(cls: type[ServiceSettings]) -> str:
    doc = " ".join((cls.__doc__ or "").split())
    head = (
        f"## {process_of(cls)}\n\n{doc} `python -m {cls.__module__.rpartition('.')[0]}`, "
        f"variables `{prefix_of(cls)}…`, shared ones `{SHARED_PREFIX}…`.\n"
    )
    return "\n".join([head, *_rows(cls)]) + "\n"


def _rows(cls: type[ServiceSettings]) -> Iterator[str]:
    yield "| Setting | Flag | Variable | TOML | Type | Default | What it does |"
    yield "|---|---|---|---|---|---|---|"
    for name, table in tables_of(cls).items():
        field = cls.model_fields[name]
        cells = (
            name,
            f"`{flag_of(name)}`",
            f"`{variable_of(prefix_of(cls), name)}`",
            f"`[{table}] {name}`",
            _kind(field),
            _default(field),
            " ".join((field.description or "").split()),
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(field: FieldInfo) -> str:
    limits = [
        f"{words} {getattr(mark, name):g}"
        for mark in field.metadata
        for name, words in _LIMITS.items()
        if getattr(mark, name, None) is not None
    ]
    patterns = [f"`{_pattern(mark)}`" for mark in field.metadata if _pattern(mark)]
    return ", ".join([_type_name(field.annotation, is_secret=is_secret(field)), *limits, *patterns])


def _pattern(mark: Any) -> str:
    pattern = getattr(mark, "pattern", None)
    return str(getattr(pattern, "pattern", pattern) or "")


def _type_name(annotation: Any, *, is_secret: bool) -> str:
    if is_secret:
        return "secret text"
    if get_origin(annotation) is Literal:
        return " ".join(f"`{value}`" for value in get_args(annotation))
    inner = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
    if get_origin(annotation) is tuple:
        return f"list of {_type_name(inner[0], is_secret=False)}"
    if inner:
        return _type_name(inner[0], is_secret=False)
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    if field.default is None or is_secret(field) or field.default in ("", ()):
        return "none"
    return f"`{to_toml(field.default)}`"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.configuration", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    arguments = parser.parse_args()
    stale = [path for path, text in ((PAGE, page()), (KNOWN, known())) if not is_current(path, text)]
    for path in stale:
        shown = path.relative_to(ROOT)
        if arguments.check:
            print(f"{shown} is out of date; `make configuration` mends it")
        else:
            path.write_text(page() if path == PAGE else known(), "utf-8")
            print(f"wrote {shown}")
    return 1 if stale and arguments.check else 0


def is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
