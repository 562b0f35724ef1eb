// The TypeScript clients and mcp-remote, each in legacy and in modern mode: list, call, denied call,
// limited call.
// Usage: PROXY_URL=... API_KEY=... node clients.mjs DIR_WITH_NODE_MODULES
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";

const [dir] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${dir}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client, StreamableHTTPClientTransport } = await load("@modelcontextprotocol/client");
const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");
const old = await load("@modelcontextprotocol/sdk/client/index.js");
const oldHttp = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const url = process.env.PROXY_URL;
const authorization = `Bearer ${process.env.API_KEY}`;
const http = (Transport) =>
  new Transport(new URL(url), { requestInit: { headers: { authorization } } });
const remote = () =>
  new StdioClientTransport({
    command: process.execPath,
    args: [`${dir}/node_modules/mcp-remote/dist/proxy.js`, url, "--header", `Authorization:${authorization}`],
    env: { ...process.env },
    stderr: "ignore",
  });
const info = { name: "client-test", version: "1.0.0" };
const modern = (mode) => new Client(info, { versionNegotiation: { mode } });

const cases = [
  ["TypeScript client, legacy", () => modern("legacy"), () => http(StreamableHTTPClientTransport)],
  ["TypeScript client, auto", () => modern("auto"), () => http(StreamableHTTPClientTransport)],
  ["TypeScript client, pinned to 2026-07-28", () => modern({ pin: "2026-07-28" }), () => http(StreamableHTTPClientTransport)],
  ["TypeScript SDK 1, legacy", () => new old.Client(info), () => http(oldHttp.StreamableHTTPClientTransport)],
  ["mcp-remote, legacy", () => modern("legacy"), remote],
  ["mcp-remote, auto", () => modern("auto"), remote],
];

let failed = 0;
for (const [name, makeClient, makeTransport] of cases) {
  const client = makeClient();
  try {
    await client.connect(makeTransport());
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map((tool) => tool.name).sort(),
      ["test_error_handling", "test_simple_text", "test_tool_with_progress"],
    );
    const call = (args) => client.callTool({ name: "test_simple_text", arguments: args });
    const good = await call({});
    assert.match(good.content[0].text, /simple text response/);
    const bad = await call({ text: "forbidden" });
    assert.equal(bad.isError, true);
    assert.match(bad.content[0].text, /That word is forbidden/);
    await assert.rejects(client.callTool({ name: "test_image_content", arguments: {} }));
    // A limit answers 429: the call fails, and the client goes on.
    await assert.rejects(client.callTool({ name: "test_error_handling", arguments: {} }), /no errors today|429/);
    assert.match((await call({})).content[0].text, /simple text response/);
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error?.stack ?? error}`);
  } finally {
    await client.close().catch(() => {});
  }
}
process.exit(failed === 0 ? 0 : 1);
