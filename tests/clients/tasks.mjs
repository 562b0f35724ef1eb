// Tasks of a real server (the reference server "everything", 2025-11-25) through the gateway: they belong to
// whoever started them. Usage: PROXY_URL=... BOB_KEY=... CAROL_KEY=... node tasks.mjs DIR_WITH_NODE_MODULES
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";

const [dir] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${dir}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`)).href);
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const types = await load("types.js");

const TOOL = "simulate-research-query";

// Someone with a session of their own, whose client can ask them.
async function connect(key) {
  const client = new Client({ name: "tasks-test", version: "1.0.0" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(types.ElicitRequestSchema, () => ({
    action: "accept",
    content: { interpretation: "snake" },
  }));
  const headers = { authorization: `Bearer ${key}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(process.env.PROXY_URL), { requestInit: { headers } }));
  await client.listTools();
  return client;
}

const bob = await connect(process.env.BOB_KEY);
const carol = await connect(process.env.CAROL_KEY);

// Everything that the client is told of a call that is made as a task.
async function run(client, args) {
  const told = [];
  for await (const message of client.experimental.tasks.callToolStream({ name: TOOL, arguments: args })) {
    told.push(message);
  }
  return told;
}

// The id of a task that still runs.
async function start(client, topic) {
  const params = { name: TOOL, arguments: { topic }, task: { ttl: 60_000 } };
  const created = await client.request({ method: "tools/call", params }, types.CreateTaskResultSchema);
  return created.task.taskId;
}

// The refusal, which has to come as an error of the protocol.
const refused = (promise, reason) =>
  assert.rejects(promise, (error) => (assert.equal(error.data?.reason, reason, `${error?.stack}`), true));

const cases = {
  async "a task runs to its result"() {
    const told = await run(bob, { topic: "tides" });
    assert.equal(told[0].type, "taskCreated");
    const last = told.at(-1);
    assert.equal(last.type, "result", JSON.stringify(last));
    assert.match(last.result.content[0].text, /Research Report: tides/);
    const related = last.result._meta["io.modelcontextprotocol/related-task"];
    assert.equal(related.taskId, told[0].task.taskId);
  },
  async "a task asks its person on the way"() {
    const last = (await run(bob, { topic: "python", ambiguous: true })).at(-1);
    assert.equal(last.type, "result", JSON.stringify(last));
    assert.match(last.result.content[0].text, /Research Report: python \(snake\)/);
  },
  async "a task is its starter's alone"() {
    const id = await start(bob, "volcanoes");
    for (const other of [id, "no-such-task"]) {
      await refused(carol.experimental.tasks.getTask(other), "task_unknown");
      await refused(carol.experimental.tasks.getTaskResult(other, types.CallToolResultSchema), "task_unknown");
      await refused(carol.experimental.tasks.cancelTask(other), "task_unknown");
    }
    const task = await bob.experimental.tasks.getTask(id);
    assert.deepEqual([task.taskId, task.status], [id, "working"]);
    const cancelled = await bob.experimental.tasks.cancelTask(id);
    assert.deepEqual([cancelled.taskId, cancelled.status], [id, "cancelled"]);
    assert.equal((await bob.experimental.tasks.getTask(id)).status, "cancelled");
  },
  async "a task that a policy denies is refused by name"() {
    await refused(start(bob, "forbidden"), "policy_denied");
    const last = (await run(bob, { topic: "forbidden" })).at(-1);
    assert.equal(last.error?.data?.reason, "policy_denied", JSON.stringify(last));
    assert.match(last.error.message, /Not that topic/);
  },
  async "all tasks at once are nobody's to list"() {
    await refused(bob.experimental.tasks.listTasks(), "unknown_method");
  },
};

// At once: each of these tasks takes some seconds.
const failed = await Promise.all(
  Object.entries(cases).map(async ([name, check]) => {
    const error = await check().catch((error) => error ?? new Error("failed"));
    console.log(error ? `FAIL tasks, ${name}: ${error.stack ?? error}` : `ok   tasks, ${name}`);
    return Boolean(error);
  }),
);
await Promise.all([bob.close(), carol.close()]);
process.exit(failed.includes(true) ? 1 : 0);
