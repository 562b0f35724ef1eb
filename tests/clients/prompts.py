"""What the seed's example prompts need, through the Runlayer MCP with the Python client: an administrator asks
about the calls that the other clients have just made.

Usage: RUNLAYER_URL=... PROXY_URL=... ADMIN_KEY=... USER_KEY=... python prompts.py MODE...
"""

import asyncio
import collections
import csv
import datetime
import io
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


class Admin:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, tool: str, **arguments: object) -> dict:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, f"{tool} {arguments}: {result.content}"
        assert result.structured_content, f"{tool}: no structured content"
        return result.structured_content

    async def refused(self, tool: str, **arguments: object) -> str:
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, f"{tool} {arguments}: was answered"
        return "\n".join(block.text for block in result.content)

    async def table(self, dataset: str, **more: object) -> list[dict]:
        report = await self.ask("export_analytics_dataset", dataset=dataset, **more)
        rows = list(csv.DictReader(io.StringIO(report["csv"])))
        assert rows, f"{dataset}: no rows"
        assert set(rows[0]) == set(report["columns"]), report["columns"]
        return rows


async def failures_by_server(admin: Admin) -> None:
    for _ in range(100):
        page = await admin.ask("list_audit_logs", action_type=["tool_call_failure"], limit=50)
        if page["data"]:
            break
        await asyncio.sleep(0.1)
    errors = collections.Counter()
    for row in page["data"]:
        entry = await admin.ask("get_audit_log", id=row["id"])
        errors[row["server"], (entry["result"] or {}).get("text") or entry["detail"]] += 1
    assert any(server == "fixture" for server, _ in errors), errors


async def a_correlation_id(admin: Admin) -> None:
    denied = (await admin.ask("list_audit_logs", action_type=["access_denied"], limit=1))["data"][0]
    same = await admin.ask("list_audit_logs", correlation_id=denied["correlation_id"])
    assert [row["id"] for row in same["data"]] == [denied["id"]], same
    assert denied["actor_email"] and denied["server"] and denied["resource_id"] and denied["reason"]


async def top_tools(admin: Admin) -> None:
    rows = await admin.table("top_tools", limit=10)
    called = {row["tool"]: row for row in rows if row["server"] == "fixture"}
    assert float(called["test_simple_text"]["calls"]) > 0, rows
    for row in rows:
        calls, failures = int(row["calls"]), int(row["failures"])
        assert calls == 0 or abs(float(row["failure_rate"]) - failures / calls) < 0.001, row


async def calls_per_hour(admin: Admin) -> None:
    start = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=7)).isoformat()
    rows = await admin.table("tool_calls_hourly", start=start, timezone="Asia/Kathmandu")
    assert all(row["hour"].endswith("+05:45") for row in rows), rows[0]
    assert sum(int(row["calls"]) for row in rows) > 0, rows


async def clients_ranked(admin: Admin) -> None:
    rows = await admin.table("mcp_clients")
    calls = [int(row["calls"]) for row in rows]
    assert calls == sorted(calls, reverse=True) and len(rows) > 1, rows


async def my_servers(admin: Admin) -> None:
    listed = (await admin.ask("list_servers", scope="all"))["data"]
    assert {"fixture", "runlayer"} <= {row["slug"] for row in listed}
    detail = await admin.ask("get_server", server_id="fixture")
    assert detail["install_links"]["cursor"].startswith("cursor://anysphere.cursor-deeplink/mcp/install?name=")
    tools = (await admin.ask("list_server_tools", server_id="fixture", limit=200))["data"]
    withheld = [tool for tool in tools if not tool["allowed"]]
    assert withheld and all(tool["why_withheld"] for tool in withheld), tools


async def a_change(admin: Admin) -> None:
    """Without the boolean nothing changes and the answer shows what would; with it the server is off and on."""
    for status in ["disabled", "active"]:
        change = {"server_id": "fixture", "status": status}
        assert status in await admin.refused("set_server_status", **change)
        unsure = await admin.refused("set_server_status", **change, confirm="true")
        assert "confirm" in unsure, unsure
        done = await admin.ask("set_server_status", **change, confirm=True)
        assert done["after"] == status, done


async def wrong(admin: Admin) -> None:
    for tool, arguments, word in [
        ("export_analytics_dataset", {"dataset": "everything"}, "dataset"),
        ("export_analytics_dataset", {"dataset": "top_tools", "timezone": "Mars/Olympus"}, "timezone"),
        ("export_analytics_dataset", {"dataset": "top_tools", "start": "2026-02-30"}, "start"),
        ("list_audit_logs", {"cursor": "x"}, "cursor"),
        ("list_audit_logs", {"limit": 100000}, "limit"),
        ("list_audit_logs", {"colour": "red"}, "colour"),
    ]:
        text = await admin.refused(tool, **arguments)
        assert word in text and "correlation_id" in text, f"{tool} {arguments}: {text}"


PROMPTS = [
    failures_by_server,
    a_correlation_id,
    top_tools,
    calls_per_hour,
    clients_ranked,
    my_servers,
    a_change,
    wrong,
]


async def a_failure(person: Admin) -> None:
    """A tool of the fixture says that it failed."""
    result = await person.client.call_tool("test_error_handling", {})
    assert result.is_error, result


async def connected(key: str, mode: str, use, server: str = "RUNLAYER_URL") -> None:
    headers = {"authorization": f"Bearer {os.environ[key]}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(os.environ[server], http_client=http)
        async with Client(transport, mode=mode) as client:
            await use(Admin(client))


async def nothing_of_others(person: Admin) -> None:
    assert "roles" in await person.refused("export_analytics_dataset", dataset="top_users")
    rows = (await person.ask("list_audit_logs", limit=200))["data"]
    assert {row["actor_email"] for row in rows} == {"bob@example.com"}, rows


async def main() -> int:
    failed = 0
    await connected("ADMIN_KEY", "auto", a_failure, "PROXY_URL")
    for mode in sys.argv[1:]:
        cases = [("ADMIN_KEY", prompt) for prompt in PROMPTS] + [("USER_KEY", nothing_of_others)]
        for key, prompt in cases:
            try:
                await connected(key, mode, prompt)
                print(f"ok   Python client, {mode}: {prompt.__name__}")
            except BaseException as error:  # exception groups are no Exception
                failed += 1
                print(f"FAIL Python client, {mode}: {prompt.__name__}: {error!r}")
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
