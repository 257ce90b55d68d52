"""MCP, with the client of the `mcp` package."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from demo.configuration import Configuration
from demo.service import Service
from musicgen import audio
from musicgen.settings import Settings
from tests.demo.conftest import serving, wait_until

pytest.importorskip("mcp", reason="MCP needs gradio[mcp]")

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolResult, TextContent


@contextlib.asynccontextmanager
async def connected(address: str, auth: str = "") -> AsyncIterator[ClientSession]:
    headers = {"authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else None
    async with (
        streamablehttp_client(f"{address}gradio_api/mcp/", headers=headers) as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        yield session


def texts(result: CallToolResult) -> list[str]:
    return [content.text for content in result.content if isinstance(content, TextContent)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(Configuration(mcp=True), tmp_path_factory.mktemp("mcp"))


def test_a_client_lists_the_tools_and_generates(address: str, tmp_path: Path) -> None:
    async def use() -> None:
        async with connected(address) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"generate", "melody", "models", "settings"}
            assert "frames" in tools["generate"].inputSchema["properties"]
            ask = {"prompt": "drums", "model": "mini", "duration": 1.0, "seed": 3}
            made = await client.call_tool("generate", ask)
            assert not made.isError, texts(made)
            url = texts(made)[0]
            (tmp_path / "clip.flac").write_bytes(httpx.get(url).content)
            settings = Settings.of_file(tmp_path / "clip.flac")
            assert (settings.prompt, settings.seed) == ("drums", 3)
            assert audio.read(tmp_path / "clip.flac").duration == pytest.approx(1.0, abs=0.05)
            followed = await client.call_tool("generate", ask | {"model": "mini-melody", "frames": [0, 4, 7]})
            assert not followed.isError, texts(followed)
            for wrong, message in (({"duration": 1e9}, "must lie between"), ({"frames": [0]}, "follows no melody")):
                refused = await client.call_tool("generate", ask | wrong)
                assert refused.isError
                assert message in texts(refused)[0]

    asyncio.run(use())


def test_clients_do_not_stop_each_other_and_one_that_leaves_ends_its_clip(address: str, service: Service) -> None:
    long = {"prompt": "drums", "model": "mini", "duration": 300.0}

    async def stay() -> CallToolResult:
        async with connected(address) as client:
            return await client.call_tool("generate", long | {"duration": 8.0})

    async def leave() -> None:
        async with connected(address) as client:
            await client.call_tool("generate", long)

    async def meddle() -> None:
        async with connected(address) as client:
            refused = await client.call_tool("stop", {})
            assert refused.isError
            assert "nothing to stop" in texts(refused)[0]

    async def everybody() -> CallToolResult:
        staying, leaving = asyncio.create_task(stay()), asyncio.create_task(leave())
        while len(service.job_queue) < 2:
            await asyncio.sleep(0.02)
        await meddle()
        leaving.cancel()
        await asyncio.wait([leaving])
        return await staying

    made = asyncio.run(asyncio.wait_for(everybody(), 120))
    assert not made.isError, texts(made)
    assert json.loads(texts(made)[2].removeprefix("root=").replace("'", '"').replace("True", "true"))["complete"]
    wait_until(lambda: len(service.job_queue) == 0, 30)


def test_a_page_with_a_password_asks_mcp_clients_for_it(tmp_path: Path) -> None:
    with serving(Service(Configuration(mcp=True, auth=("me", "secret")), tmp_path)) as address:
        for path in ("mcp", "mcp/", "mcp/schema", "mcp/sse", "mcp/messages/"):
            for headers in ({}, {"authorization": "Basic bWU6d3Jvbmc="}, {"authorization": "Basic \xff"}):
                reply = httpx.request(
                    "GET", f"{address}gradio_api/{path}", headers={k: v.encode("latin-1") for k, v in headers.items()}
                )
                assert reply.status_code == 401, path
        with pytest.raises(BaseExceptionGroup):
            asyncio.run(_list(address, ""))
        assert "generate" in asyncio.run(_list(address, "me:secret"))
        made = asyncio.run(_generate(address, "me:secret"))
        assert not made.isError, texts(made)


async def _list(address: str, auth: str) -> set[str]:
    async with connected(address, auth) as client:
        return {tool.name for tool in (await client.list_tools()).tools}


async def _generate(address: str, auth: str) -> CallToolResult:
    async with connected(address, auth) as client:
        return await client.call_tool("generate", {"prompt": "x", "model": "mini", "duration": 0.5})
