"""Each failure has a reason: what the services raise, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common import errors
from services.common.errors import InvalidRequestError, NotFoundError, TtsError, kind_of
from services.common.reasons import Reason

SERVICES = Path(errors.__file__).parents[1]
EVERY_KIND: list[type[TtsError]] = [TtsError, *TtsError.__subclasses__()]
KINDS = {kind.__name__: kind for kind in EVERY_KIND}


@dataclass(frozen=True)
class Made:
    """Where an error is made."""

    place: str
    kind: type[TtsError]
    reason: ast.expr | None

    @property
    def literal(self) -> Reason | None:
        """The reason that stands there by name; None when it is none or a variable."""
        return named(self.reason) if self.reason is not None else None


def sources() -> list[Path]:
    return sorted(path for path in SERVICES.rglob("*.py") if path.name not in {"errors.py", "reasons.py"})


def named(node: ast.expr) -> Reason | None:
    """The reason of an expression `Reason.X`; raises ValueError when there is no X."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
        return Reason(node.attr) if node.attr.isupper() else None
    return None


def made_in(path: Path, tree: ast.Module) -> Iterator[Made]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in KINDS:
            given = next((keyword.value for keyword in node.keywords if keyword.arg == "reason"), None)
            yield Made(f"{path.relative_to(SERVICES)}:{node.lineno}", KINDS[name], given)


def every_made() -> list[Made]:
    return [made for path in sources() for made in made_in(path, ast.parse(path.read_text("utf-8")))]


def test_errors_are_found_in_the_source() -> None:
    """The other tests here would pass over nothing."""
    assert len(every_made()) > 100
    assert {made.kind for made in every_made()} == set(KINDS.values())


def test_an_error_has_the_class_of_its_reason_and_with_it_one_status() -> None:
    wrong = [
        f"{made.place}: {made.kind.__name__} with {made.literal or made.kind.default_reason}"
        for made in every_made()
        if (made.reason is None or made.literal) and kind_of(made.literal or made.kind.default_reason) is not made.kind
    ]
    assert wrong == []


def test_a_reason_that_is_handed_on_is_one_of_an_invalid_request() -> None:
    """A helper that takes a reason makes one class of error; the reasons around it must be that class's."""
    for path in sources():
        tree = ast.parse(path.read_text("utf-8"))
        made = list(made_in(path, tree))
        open_kinds = {each.kind for each in made if each.reason is not None and each.literal is None}
        if not open_kinds:
            continue
        assert open_kinds == {InvalidRequestError}, path
        direct = {id(each.reason) for each in made}
        others = {named(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in direct}
        assert {kind_of(reason) for reason in others - {None} if reason is not None} <= {InvalidRequestError}, path


def test_only_the_error_interceptor_ends_calls() -> None:
    """Whatever else ended one would leave out the reason."""
    ending = {
        str(path.relative_to(SERVICES))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"abort", "abort_with_status", "set_code"}
    }
    assert ending == {"common/grpc_errors.py"}


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind is not NotFoundError])
def test_an_error_without_a_word_has_a_reason_and_a_category(kind: type[TtsError]) -> None:
    assert isinstance(kind("wrong").reason, Reason)
    assert kind("wrong").reason.category


def test_what_is_not_found_is_always_said() -> None:
    """A missing model must never be told as a missing voice."""
    with pytest.raises(TypeError, match="reason"):
        NotFoundError("wrong")  # type: ignore[call-arg]
