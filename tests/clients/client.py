"""The Python client in legacy and in modern mode: list, call, denied call, limited call.

Usage: PROXY_URL=... API_KEY=... python client.py
"""

import asyncio
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

LISTED = ["test_error_handling", "test_simple_text", "test_tool_with_progress"]


async def use(mode: str) -> None:
    headers = {"authorization": f"Bearer {os.environ['API_KEY']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(os.environ["PROXY_URL"], http_client=http)
        async with Client(transport, mode=mode) as client:
            tools = (await client.list_tools()).tools
            assert sorted(tool.name for tool in tools) == LISTED, tools
            good = await client.call_tool("test_simple_text", {})
            assert "simple text response" in good.content[0].text, good
            bad = await client.call_tool("test_simple_text", {"text": "forbidden"})
            assert bad.is_error and "That word is forbidden" in bad.content[0].text, bad
            # A limit answers 429: the call fails, and the client goes on.
            try:
                limited = await client.call_tool("test_error_handling", {})
            except Exception as error:
                assert "no errors today" in str(error), error
            else:
                raise AssertionError(f"a limited call passed: {limited}")
            good = await client.call_tool("test_simple_text", {})
            assert "simple text response" in good.content[0].text, good
            try:
                hidden = await client.call_tool("test_image_content", {})
            except Exception:
                return
            raise AssertionError(f"a hidden tool was called: {hidden}")


async def main() -> int:
    failed = 0
    for mode in ["legacy", "auto", "2026-07-28"]:
        try:
            await use(mode)
            print(f"ok   Python client, {mode}")
        except BaseException as error:  # exception groups are no Exception
            failed += 1
            print(f"FAIL Python client, {mode}: {error!r}")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
