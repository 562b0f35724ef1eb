// An agent account by itself and on behalf of a person, with nothing but HTTP: tokens, calls, and what is left of
// them in the audit trail. Usage: CLIENT_ID=... CLIENT_SECRET=... API_KEY=... PROXY_URL=... node agents.mjs GATEWAY
import assert from "node:assert/strict";

const [gateway] = process.argv.slice(2);
const { CLIENT_ID, CLIENT_SECRET, API_KEY, PROXY_URL } = process.env;
const VERSION = "2026-07-28";

async function token(fields) {
  const answer = await fetch(`${gateway}/api/v1/oauth/token`, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString("base64")}` },
    body: new URLSearchParams(fields),
  });
  return { status: answer.status, ...(await answer.json()) };
}

async function rest(method, path, body, key = API_KEY) {
  const answer = await fetch(`${gateway}/api/v1${path}`, {
    method,
    headers: { "x-runlayer-api-key": key, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

async function call(bearer, name = "test_simple_text", url = PROXY_URL) {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const answer = await fetch(url, {
    method: "POST",
    headers: {
      authorization: `Bearer ${bearer}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": VERSION,
      "mcp-method": "tools/call",
      "mcp-name": name,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: {}, _meta } }),
  });
  return { status: answer.status, text: await answer.text() };
}

/** The first truthy answer; records follow and leave ends a moment later. */
async function until(ask) {
  for (let turn = 0; turn < 100; turn += 1) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`never: ${ask}`);
}

const onBehalf = (email = "bob@example.com") => ({
  grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
  subject_token: email,
  subject_token_type: "urn:runlayer:token-type:user-email",
});

const cases = {
  async "an agent calls for itself"() {
    const own = await token({ grant_type: "client_credentials", resource: PROXY_URL });
    assert.equal(own.status, 200, JSON.stringify(own));
    assert.equal(own.expires_in, 3600);
    const answer = await call(own.access_token);
    assert.match(answer.text, /simple text response/);
    assert.doesNotMatch((await call(own.access_token, "test_image_content")).text, /image\/png/);
  },
  async "a wrong secret and an unknown account look alike"() {
    const wrong = async (id, secret) => {
      const answer = await fetch(`${gateway}/api/v1/oauth/token`, {
        method: "POST",
        body: new URLSearchParams({ grant_type: "client_credentials", client_id: id, client_secret: secret }),
      });
      return `${answer.status} ${await answer.text()}`;
    };
    const [one, other] = [await wrong(CLIENT_ID, "wrong"), await wrong("nobody", "wrong")];
    assert.match(one, /^401 .*invalid_client/);
    assert.equal(one, other);
  },
  async "nobody acts for a person without their leave, and both are recorded with it"() {
    assert.ok((await token(onBehalf())).status >= 400, "without a delegation");
    const leave = await rest("POST", "/delegations", { agent: "reporter" });
    assert.equal(leave.status, 200, JSON.stringify(leave));
    const theirs = await token(onBehalf());
    assert.equal(theirs.status, 200, JSON.stringify(theirs));
    assert.match((await call(theirs.access_token)).text, /simple text response/);
    assert.ok((await token(onBehalf("carol@example.com"))).status >= 400, "somebody who gave no leave");

    const recorded = await until(async () => {
      const rows = await rest("GET", "/auditlogs?action_type=tool_call_success");
      return rows.body.data.find((row) => row.on_behalf_of === "bob@example.com");
    });
    assert.equal(recorded.act.name, "reporter");

    const id = leave.body.id ?? leave.body.delegation?.id;
    assert.equal((await rest("DELETE", `/delegations/${id}`, {})).status, 200);
    await until(async () => !/simple text response/.test((await call(theirs.access_token)).text));
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error?.stack ?? error}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
