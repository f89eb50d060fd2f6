"""Addresses, tokens and certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import triptych
from triptych import AsyncClient
from triptych.connection import ADDRESS_VARIABLE, CA_VARIABLE, TOKEN_FILE_VARIABLE

from tests.unit.client import fake_server
from tests.unit.client.fake_server import FakeGateway


async def test_the_environment_says_where_the_server_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    async with AsyncClient() as client:
        assert client.address == address
        assert await client.models()
    async with AsyncClient("127.0.0.1:1") as client:
        assert client.address == "127.0.0.1:1"


async def _sent(gateway: FakeGateway, client: AsyncClient) -> str | bytes | None:
    await client.synthesize("Hi.")
    return gateway.metadata[-1].get("authorization")


async def test_a_token_goes_with_every_call(address: str, gateway: FakeGateway) -> None:
    async def text() -> AsyncIterator[str]:
        yield "Hi."

    async with AsyncClient(address, token="s3cret\n") as client:
        await client.synthesize("Hi.")
        await client.analyze("Hi.")
        assert [audio async for audio in client.synthesize_stream("Hi.")]
        assert [audio async for audio in client.stream_text(text())]
    assert [metadata["authorization"] for metadata in gateway.metadata] == ["Bearer s3cret"] * 4


async def test_without_a_token_none_goes(client: AsyncClient, gateway: FakeGateway) -> None:
    assert await _sent(gateway, client) is None


async def test_a_token_file_is_read_again_when_it_changes(
    address: str, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(path))
    async with AsyncClient(address) as client:
        assert await _sent(gateway, client) == "Bearer first"
        path.write_text(["second", "and", "longer"][0])
        assert await _sent(gateway, client) == "Bearer second"
        path.unlink()
        with pytest.raises(triptych.ConfigError, match=f"cannot read the token file {path}: No such file"):
            await client.synthesize("Hi.")
        path.write_text("third")
        assert await _sent(gateway, client) == "Bearer third"
    async with AsyncClient(address, token="given") as client:
        assert await _sent(gateway, client) == "Bearer given"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the token file {}: No such file"),
        (b"", "the token file {} is empty"),
        (b" \n", "the token file {} is empty"),
        (b"two words", "the token file {} holds something else than one word"),
        ("schlüssel".encode(), "the token file {} holds something else than one word"),
        (b"\xff\xfe", "the token file {} is not UTF-8 text"),
    ],
)
async def test_a_useless_token_file_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(triptych.ConfigError) as caught:
        AsyncClient("127.0.0.1:1", token_file=path)
    assert str(caught.value).startswith(message.format(path))
    assert "words" not in str(caught.value)


async def test_a_useless_certificate_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(triptych.ConfigError, match="cannot read the CA file /no/such/ca.pem: No such file"):
        AsyncClient("127.0.0.1:1", ca="/no/such/ca.pem")
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    monkeypatch.setenv(CA_VARIABLE, str(path))
    with pytest.raises(triptych.ConfigError, match=f"the CA file {path} holds no certificate"):
        AsyncClient("127.0.0.1:1")


@dataclass(frozen=True)
class Certificate:
    key: Path
    certificate: Path


def _self_signed(folder: Path, name: str) -> Certificate:
    made = Certificate(folder / f"{name}.key", folder / f"{name}.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificates")
    return _self_signed(folder, "server"), _self_signed(folder, "stranger")


@pytest_asyncio.fixture
async def safe_address(gateway: FakeGateway, certificates: tuple[Certificate, Certificate]) -> AsyncIterator[str]:
    own, _ = certificates
    pair = (own.key.read_bytes(), own.certificate.read_bytes())
    server, address = await fake_server.start(gateway, grpc.ssl_server_credentials([pair]))
    yield address
    await server.stop(None)


async def test_a_trusted_server_is_spoken_to(
    safe_address: str,
    gateway: FakeGateway,
    certificates: tuple[Certificate, Certificate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, _ = certificates
    async with AsyncClient(safe_address, ca=own.certificate, token="s3cret") as client:
        assert await _sent(gateway, client) == "Bearer s3cret"
    monkeypatch.setenv(CA_VARIABLE, str(own.certificate))
    async with AsyncClient(safe_address) as client:
        assert await client.models()


async def test_a_stranger_is_refused_and_gets_no_token(
    safe_address: str, gateway: FakeGateway, certificates: tuple[Certificate, Certificate]
) -> None:
    _, stranger = certificates
    async with AsyncClient(safe_address, ca=stranger.certificate, token="s3cret") as client:
        with pytest.raises(triptych.IoError, match=f"no safe connection to {safe_address}"):
            await client.synthesize("Hi.")
    assert gateway.metadata == []
