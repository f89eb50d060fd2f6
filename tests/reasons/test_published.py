"""What is published of the reasons is what the code does: the proto, the page, the classes."""

from __future__ import annotations

import pytest

from bench import configuration, errors_page
from protos.tts.v1 import errors_pb2
from services.common.errors import TtsError, kind_of
from services.common.grpc_errors import status_of
from services.common.reasons import Category, Reason


def names(enum: object, prefix: str) -> list[str]:
    """The names of a published enum but for its 0, without their prefix."""
    keys: list[str] = enum.keys()  # type: ignore[attr-defined]
    return [key.removeprefix(prefix) for key in keys[1:]]


def test_reasons_and_categories_are_the_published_ones() -> None:
    assert names(errors_pb2.ErrorReason, "ERROR_REASON_") == list(Reason)
    assert names(errors_pb2.ErrorCategory, "ERROR_CATEGORY_") == list(Category)


def test_the_proto_tells_of_every_reason_and_category() -> None:
    assert list(errors_page.published()) == list(Reason)
    assert list(errors_page.published_categories()) == list(Category)


@pytest.mark.parametrize("reason", Reason)
def test_the_proto_tells_the_category_and_status_that_the_code_gives(reason: Reason) -> None:
    told = errors_page.published()[reason]

    assert told.category == reason.category
    assert told.status == status_of(kind_of(reason)("wrong", reason=reason)).name
    assert told.text.endswith(".")


@pytest.mark.parametrize(
    "kind", [kind for kind in (TtsError, *TtsError.__subclasses__()) if "default_reason" in vars(kind)]
)
def test_a_class_has_the_status_of_its_own_reason(kind: type[TtsError]) -> None:
    assert kind_of(kind.default_reason) is kind


def test_the_page_is_up_to_date() -> None:
    assert configuration.is_current(errors_page.PAGE, errors_page.page()), "docs/errors.md is stale: run `make errors`"


@pytest.mark.parametrize("reason", Reason)
def test_the_page_has_a_row_under_the_heading_of_the_category(reason: Reason) -> None:
    section = errors_page.page().split(f"\n## {reason.category}\n")[1].split("\n## ")[0]

    assert section.count(f"\n| `{reason}` | {errors_page.published()[reason].status} | ") == 1
