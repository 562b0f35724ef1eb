"""The Python client without any key: it discovers, registers, lets a person sign in, and calls; and as a program.

Usage: PROXY_URL=... BROWSER=... [CLIENT_ID=... CLIENT_SECRET=...] python client.py
TOOL, ANSWER and ABSENT say what there is to call, what comes of it, and which tool must not be seen.
"""

import asyncio
import os
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

URL = os.environ["PROXY_URL"]
TOOL = os.environ.get("TOOL", "test_simple_text")
ANSWER = os.environ.get("ANSWER", "simple text response")
ABSENT = os.environ.get("ABSENT", "test_image_content")


class Memory:
    """Keeps what the provider learns."""

    def __init__(self) -> None:
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens) -> None:
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client) -> None:
        self.client = client


class Callback:
    """The client's loopback listener, and the browser that is sent on its way."""

    def __init__(self) -> None:
        self.answer: asyncio.Future = asyncio.get_running_loop().create_future()

    async def open(self) -> str:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/callback"

    async def serve(self, reader, writer) -> None:
        target = (await reader.readline()).decode().split(" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
        await writer.drain()
        writer.close()
        if not self.answer.done():
            self.answer.set_result(parse_qs(urlsplit(target).query))

    async def browse(self, url: str) -> None:
        browser = await asyncio.create_subprocess_exec(os.environ["BROWSER"], url)
        assert await asyncio.wait_for(browser.wait(), 60) == 0, "the person got nowhere"

    async def wait(self) -> AuthorizationCodeResult:
        query = await asyncio.wait_for(self.answer, 60)
        first = {name: values[0] for name, values in query.items()}
        return AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))


async def use(auth, mode: str) -> None:
    async with httpx2.AsyncClient(auth=auth, timeout=60) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            assert TOOL in tools and ABSENT not in tools, tools
            good = await client.call_tool(TOOL, {})
            assert ANSWER in good.content[0].text, good


async def person(mode: str) -> None:
    callback, memory = Callback(), Memory()
    redirect = await callback.open()
    metadata = OAuthClientMetadata(client_name="Python client", redirect_uris=[redirect])
    auth = OAuthClientProvider(URL, metadata, memory, callback.browse, callback.wait)
    await use(auth, mode)
    assert memory.tokens.refresh_token, "no refresh token"
    # Once more with what is remembered: no browser this time.
    async def nobody(_url: str) -> None:
        raise AssertionError("a browser was opened again")

    await use(OAuthClientProvider(URL, metadata, memory, nobody, callback.wait), mode)


async def program(mode: str) -> None:
    client_id, secret = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
    issuer = "{0.scheme}://{0.netloc}".format(urlsplit(URL))
    await use(ClientCredentialsOAuthProvider(URL, Memory(), client_id, secret, issuer=issuer), mode)


async def main() -> int:
    failed = 0
    for who in [person, program] if "CLIENT_ID" in os.environ else [person]:
        for mode in ["legacy", "auto"]:
            name = f"Python client, {who.__name__}, {mode}"
            try:
                await who(mode)
                print(f"ok   {name}")
            except BaseException as error:  # exception groups are no Exception
                failed += 1
                print(f"FAIL {name}: {error!r}")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
