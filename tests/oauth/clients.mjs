// mcp-remote and the TypeScript client without any key: they discover, register, send a person to sign in,
// and call. Usage: PROXY_URL=... node clients.mjs DIR_WITH_NODE_MODULES [ONLY]; TOOL, ANSWER and ABSENT say what there is
// to call, what comes of it, and which tool must not be seen. mcp-remote opens what BROWSER names.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";
import { Person } from "./person.mjs";

const [dir, only = ""] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${dir}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = await load("@modelcontextprotocol/client");
const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");
const { PROXY_URL: url, TOOL: tool = "test_simple_text", ABSENT: absent = "test_image_content" } = process.env;
const { ANSWER: answer = "simple text response" } = process.env;
const make = (mode) => new Client({ name: "oauth-test", version: "1.0.0" }, { versionNegotiation: { mode } });

async function use(client) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  assert.ok(names.includes(tool) && !names.includes(absent), names.join());
  const good = await client.callTool({ name: tool, arguments: {} });
  assert.ok(good.content[0].text.includes(answer), JSON.stringify(good));
}

async function remote(mode) {
  const client = make(mode);
  const args = [`${dir}/node_modules/mcp-remote/dist/proxy.js`, url, "--auth-timeout", "60"];
  const transport = new StdioClientTransport({ command: process.execPath, args, env: { ...process.env }, stderr: "ignore" });
  try {
    await client.connect(transport);
    await use(client);
  } finally {
    await client.close().catch(() => {});
  }
}

/** Remembers what the client learns, and waits for the person on a loopback address. */
class Provider {
  constructor() {
    this.clientMetadata = { client_name: "TypeScript client", redirect_uris: [], token_endpoint_auth_method: "none" };
    this.opened = 0;
  }
  async listen() {
    await new Promise((resolve) => {
      this.server = createServer((request, response) => {
        this.answer(new URL(request.url, this.redirectUrl).searchParams);
        response.end("done");
      }).listen(0, "127.0.0.1", resolve);
    });
    this.answered = new Promise((resolve) => (this.answer = resolve));
    this.redirectUrl = `http://127.0.0.1:${this.server.address().port}/callback`;
    this.clientMetadata.redirect_uris.push(this.redirectUrl);
  }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  saveDiscoveryState(state) { this.discovered = state; }
  discoveryState() { return this.discovered; }
  async redirectToAuthorization(to) {
    this.opened += 1;
    const end = await new Person("bob").visit(to);
    assert.ok(end.status < 400, `${end.url}: ${end.status}`);
  }
}

async function typescript(mode) {
  const provider = new Provider();
  await provider.listen();
  const connect = async () => {
    const client = make(mode);
    const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    try {
      await client.connect(transport);
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      const query = await provider.answered;
      assert.ok(query.get("iss"), "no iss");
      await transport.finishAuth(query);
      return null;
    }
    return client;
  };
  try {
    const client = (await connect()) ?? (await connect());
    await use(client);
    await client.close();
    assert.equal(provider.opened, 1);
  } finally {
    provider.server.close();
  }
}

let failed = 0;
for (const [name, run] of [
  ["mcp-remote, person, legacy", () => remote("legacy")],
  ["mcp-remote, person, auto", () => remote("auto")],
  ["TypeScript client, person, legacy", () => typescript("legacy")],
  ["TypeScript client, person, auto", () => typescript("auto")],
].filter(([name]) => name.startsWith(only))) {
  try {
    await run();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error?.stack ?? error}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
