"""Reflection as stubs see it, and as the real grpcurl and ghz do where they are installed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos.tts.stages.v1 import stage_pb2
from tests.unit.common.serving import Context, Served, served

STAGE = "tts.stages.v1.Stage"
VERSIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
TOOLS_DIR = Path(__file__).parents[3] / "var/bin"

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse


async def describe(_request: stage_pb2.DescribeRequest, _context: Context) -> stage_pb2.DescribeResponse:
    return stage_pb2.DescribeResponse(stage="gpt", slots=4)


def add_stage(server: grpc.aio.Server) -> list[str]:
    handler = grpc.unary_unary_rpc_method_handler(
        describe,
        request_deserializer=stage_pb2.DescribeRequest.FromString,
        response_serializer=stage_pb2.DescribeResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(STAGE, {"Describe": handler})])
    return [STAGE]


async def ask(server: Served, version: str, request: reflection_pb2.ServerReflectionRequest) -> Response:
    method = server.channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=Request.SerializeToString,
        response_deserializer=Response.FromString,
    )

    async def one() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield request

    answers = [answer async for answer in method(one())]
    assert len(answers) == 1
    return answers[0]


@pytest.mark.parametrize("version", VERSIONS)
async def test_both_versions_list_all_services(version: str) -> None:
    async with served(add_stage) as server:
        answer = await ask(server, version, Request(list_services=""))

    names = {service.name for service in answer.list_services_response.service}
    assert names == {STAGE, "grpc.health.v1.Health", *VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "symbol", [STAGE, f"{STAGE}.Describe", "tts.stages.v1.Tensor", "tts.stages.v1.Tensor.name", *VERSIONS]
)
async def test_symbol_is_found(version: str, symbol: str) -> None:
    """A method is found by its service, which the descriptor pool alone does not do."""
    async with served(add_stage) as server:
        request = Request(file_containing_symbol=symbol)
        answer = await ask(server, version, request)

    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert symbol.startswith(files[0].package)
    assert answer.original_request == request


@pytest.mark.parametrize("symbol", ["nobody", f"{STAGE}.Nothing", "tts.stages.v1.Nobody.Describe", ""])
async def test_unknown_symbol_is_not_found(symbol: str) -> None:
    async with served(add_stage) as server:
        answer = await ask(server, VERSIONS[0], Request(file_containing_symbol=symbol))

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def _tools() -> Iterator[str]:
    for name in ("grpcurl", "ghz"):
        if path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{TOOLS_DIR}"):
            yield path


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def use_grpcurl(tool: str, address: str) -> None:
    assert STAGE in await output_of(tool, "-plaintext", address, "list")
    assert f"{STAGE}.Run" in await output_of(tool, "-plaintext", address, "list", STAGE)
    described = await output_of(tool, "-plaintext", address, "describe", f"{STAGE}.Describe")
    assert "rpc Describe" in described
    assert "service Health" in await output_of(tool, "-plaintext", address, "describe")
    answer = json.loads(await output_of(tool, "-plaintext", address, f"{STAGE}/Describe"))
    assert answer == {"stage": "gpt", "slots": 4}


async def use_ghz(tool: str, address: str) -> None:
    report = await output_of(
        tool, "--insecure", "--call", f"{STAGE}.Describe", "-n", "3", "-c", "1", "-O", "json", address
    )
    assert json.loads(report)["statusCodeDistribution"] == {"OK": 3}


@pytest.mark.parametrize("tool", list(_tools()) or [""])
async def test_real_tools_need_nothing_but_reflection(tool: str) -> None:
    """Without the tools nothing is left to show here: the tests above speak the protocol itself."""
    async with served(add_stage) as server:
        if tool.endswith("grpcurl"):
            await use_grpcurl(tool, server.address)
        elif tool.endswith("ghz"):
            await use_ghz(tool, server.address)
