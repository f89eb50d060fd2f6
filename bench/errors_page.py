"""`python -m bench.errors_page`: docs/errors.md, made from the reasons, their classes and the published proto.

`--check` only says whether it is up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.configuration import ROOT, is_current
from services.common.channels import HARD_MESSAGE_BYTES
from services.common.errors import kind_of
from services.common.grpc_errors import status_of
from services.common.reasons import Category, Reason

PAGE = ROOT / "docs" / "errors.md"
PROTO = ROOT / "protos" / "tts" / "v1" / "errors.proto"

_CATEGORY = re.compile(r"  // (?P<text>.+)\n  ERROR_CATEGORY_(?P<name>[A-Z]+) = \d+;")
_REASON = re.compile(
    r"  // (?P<category>[A-Z]+), (?P<status>[A-Z_]+)\. (?P<text>.+)\n  ERROR_REASON_(?P<name>[A-Z_]+) = \d+;"
)

_INTRODUCTION = """\
# Errors

Made from the reasons, their classes and [errors.proto](../protos/tts/v1/errors.proto) by `make errors`; do not edit.

A failed call of `tts.v1` ends with a gRPC status, a message for people, and details for programs:

| Detail (`google.rpc`) | When | Holds |
|---|---|---|
| `ErrorInfo` | always | domain `triptych`, `reason` from the tables below, and the metadata below |
| `BadRequest` | a field is at fault | its path, such as `config.sampling.top_p`, and what is allowed |
| `RetryInfo` | another try may succeed | after how long to come again |
| `ResourceInfo` | a voice or model is not there | its type and its name |

| Metadata of `ErrorInfo` | When | Value |
|---|---|---|
| `category` | always | what has to be looked at; one of the headings below |
| `retryable` | always | `true` or `false` |
| `field` | a field is at fault | its path |
| `stage` | a stage is at fault | its name, such as `gpt` |
| `utterance_id` | the call was to speak | under which the logs tell more |
| `capability` | `CAPABILITY_MISSING` | what the model lacks, such as `instruction` |
| `minimum`, `maximum`, `allowed` | a value is out of range | what is allowed |

A reason has one category and one status, wherever it comes from. Messages never repeat the caller's text.
The client library raises one class for each category, with the same names as attributes.

Without details end only the calls that gRPC itself ends: nobody listens at the address (UNAVAILABLE), the caller's own
deadline passed (DEADLINE_EXCEEDED) or it hung up (CANCELLED) before an answer came, a message has more than
MEBIBYTES MiB (RESOURCE_EXHAUSTED), or there is no such method (UNIMPLEMENTED).
"""


@dataclass(frozen=True)
class PublishedReason:
    """A reason as errors.proto tells it."""

    name: str
    category: str
    status: str
    text: str


def published() -> dict[str, PublishedReason]:
    """Every reason of errors.proto by its name without prefix, in the order of the file."""
    return {match["name"]: PublishedReason(**match.groupdict()) for match in _REASON.finditer(PROTO.read_text("utf-8"))}


def published_categories() -> dict[str, str]:
    """What errors.proto says of each category."""
    return {match["name"]: match["text"] for match in _CATEGORY.finditer(PROTO.read_text("utf-8"))}


def page() -> str:
    """Return docs/errors.md."""
    sections = ["\n".join(_section(category)) for category in Category]
    return "\n".join([_INTRODUCTION.replace("MEBIBYTES", str(HARD_MESSAGE_BYTES >> 20)), *sections])


def _section(category: Category) -> Iterator[str]:
    told = published()
    yield f"## {category}\n"
    yield f"{published_categories()[category]}\n"
    yield "| Reason | Status | When | Retryable |"
    yield "|---|---|---|---|"
    for reason in Reason:
        if reason.category is category:
            kind = kind_of(reason)
            status = status_of(kind("", reason=reason)).name
            yield f"| `{reason}` | {status} | {told[reason].text} | {'yes' if kind.is_retryable else 'no'} |"
    yield ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.errors_page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    is_check = parser.parse_args().check
    shown, is_stale = PAGE.relative_to(ROOT), not is_current(PAGE, page())
    if is_stale and is_check:
        print(f"{shown} is out of date; `make errors` mends it")
    elif is_stale:
        PAGE.write_text(page(), "utf-8")
        print(f"wrote {shown}")
    return 1 if is_stale and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
