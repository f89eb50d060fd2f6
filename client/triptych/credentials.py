"""Files that say who the caller is and which server to trust."""

from __future__ import annotations

from pathlib import Path

from triptych.errors import ConfigError, ErrorDetails


class Token:
    """A token that was given as such."""

    def __init__(self, token: str) -> None:
        self._token = _checked(token.strip(), "the token")

    def read(self) -> str:
        return self._token


class TokenFile:
    """A token in a file, such as a mounted secret, that may be exchanged while the client runs.

    Raises:
        ConfigError: if the file cannot be used; here and at every `read`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._token = ""
        self.read()

    def read(self) -> str:
        """Return the token; the file is read when it has changed."""
        try:
            status = self._path.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version != self._version:
                self._token = _checked(self._path.read_text("utf-8").strip(), f"the token file {self._path}")
                self._version = version
        except OSError as error:
            raise _unusable(f"cannot read the token file {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _unusable(f"the token file {self._path} is not UTF-8 text") from None
        return self._token


def read_ca(path: Path) -> bytes:
    """Return the certificates in a PEM file.

    Raises:
        ConfigError: if there are none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unusable(f"cannot read the CA file {path}: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise _unusable(f"the CA file {path} holds no certificate in PEM form")
    return data


def _checked(token: str, what: str) -> str:
    """Return a token that a header can carry; no message repeats it."""
    if not token:
        raise _unusable(f"{what} is empty")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise _unusable(f"{what} holds something else than one word of printable ASCII characters")
    return token


def _unusable(message: str) -> ConfigError:
    return ConfigError(message, ErrorDetails(reason="FIELD_INVALID"))
