// Clicks through the pages in headless Chromium. Scripts are off in it, except where an attack is tried: the pages
// must work without. One line a check; the exit code is of no interest to run.sh, its lines are.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.argv[2], 'package.json'));
const { chromium } = require('playwright-core');
const { GATEWAY_URL: gateway, API_KEY: key, PASSWORD: password, GATEWAY_LINK: link, PAGES_SHOTS: shots } = process.env;
const PAYLOAD = '"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'{{7*7}}\u202e';

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
let contexts = [];

/** A browser of nobody yet. */
async function visitor(javaScriptEnabled = false) {
  const context = await browser.newContext({ javaScriptEnabled });
  contexts.push(context);
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.problems = [];
  page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
  page.on('dialog', (dialog) => { page.problems.push('a dialog'); return dialog.dismiss(); });
  return page;
}

/** Fills in the form of the sign-in that is shown. */
async function fillIn(page, person, secret = password) {
  await page.getByLabel('E-mail address').fill(`${person}@example.com`);
  await page.getByLabel('Password').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** A browser in which that person is signed in. */
async function signedIn(person, scripts = false) {
  const page = await visitor(scripts);
  await page.goto(`${gateway}/account`);
  await fillIn(page, person);
  await page.waitForURL(`${gateway}/account`);
  return page;
}

/** Both widths; nothing may stick out, and every page is built the same way. */
async function shot(page, name) {
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({ path: join(shots, `${name}-${width}.png`), fullPage: true });
    const seen = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      language: document.documentElement.lang,
      headings: document.querySelectorAll('h1').length,
      landmarks: document.querySelectorAll('main, header, footer').length,
      nameless: [...document.querySelectorAll('input:not([type=hidden])')].filter((i) => !i.labels.length).length,
      scripts: document.scripts.length,
      small: [...document.querySelectorAll('button:not(.quiet), .button')]
        .filter((b) => b.getBoundingClientRect().height < 40).length,
    }));
    assert.ok(seen.wide <= width, `${name}: ${seen.wide} px of content at ${width}`);
    assert.deepEqual({ ...seen, wide: 0 },
      { wide: 0, language: 'en', headings: 1, landmarks: 3, nameless: 0, scripts: 0, small: 0 }, name);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function check(name, body) {
  try {
    await body();
    console.log(`ok   ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}: ${String(error.stack ?? error).split('\n').slice(0, 8).join(' | ')}`);
  }
  for (const context of contexts) await context.close();
  contexts = [];
}

/** A listener of the test's: what was asked of it, and what it answers. */
async function listener(answer = () => 'Back at the program.') {
  const asked = [];
  const server = createServer((request, response) => {
    if (request.url !== '/favicon.ico') asked.push(request.url);
    response.setHeader('content-type', 'text/html');
    response.end(answer(request));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  server.unref();
  return { url: `http://127.0.0.1:${server.address().port}`, asked, close: () => server.closeAllConnections() };
}

async function post(path, body, headers = {}) {
  const form = body instanceof URLSearchParams;
  const answer = await fetch(`${gateway}${path}`, {
    method: 'POST',
    headers: { 'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json', ...headers },
    body: form ? body : JSON.stringify(body),
    redirect: 'manual',
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

const bearer = { authorization: `Bearer ${key}` };

/** Calls a tool of the fixture as Bob's program, which cannot ask him itself. */
async function call(tool, args, credential = bearer) {
  const proxy = '/api/v1/proxy/fixture/mcp';
  const accept = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
  const version = '2025-06-18';
  const hello = await post(proxy, {
    jsonrpc: '2.0', id: 1, method: 'initialize',
    params: { protocolVersion: version, capabilities: {}, clientInfo: { name: 'pages', version: '1' } },
  }, { ...accept, ...credential });
  assert.equal(hello.status, 200, hello.text);
  const session = { 'mcp-session-id': hello.headers.get('mcp-session-id'), 'mcp-protocol-version': version };
  const ready = { jsonrpc: '2.0', method: 'notifications/initialized' };
  await post(proxy, ready, { ...accept, ...credential, ...session });
  const called = await post(proxy, {
    jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: tool, arguments: args },
  }, { ...accept, ...credential, ...session });
  const data = called.text.startsWith('{') ? called.text
    : called.text.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).at(-1);
  return JSON.parse(data);
}

function approvalUrl(answer) {
  const url = answer.result?._meta?.['com.runlayer/refusal']?.approval_url;
  assert.match(url ?? JSON.stringify(answer), /\/confirmations\//);
  return url;
}

/** A program that registers itself, and its request for consent. */
async function program(name) {
  const home = await listener();
  const registered = await post('/api/v1/oauth/register', {
    client_name: name, redirect_uris: [`${home.url}/callback`], token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  });
  assert.equal(registered.status, 201, registered.text);
  const { client_id } = JSON.parse(registered.text);
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const query = new URLSearchParams({
    response_type: 'code', client_id, redirect_uri: `${home.url}/callback`, state: 'st&te',
    code_challenge: challenge, code_challenge_method: 'S256', resource: `${gateway}/api/v1/proxy/fixture/mcp`,
  });
  const redeem = (code) => post('/api/v1/oauth/token', new URLSearchParams({
    grant_type: 'authorization_code', code, client_id, redirect_uri: `${home.url}/callback`, code_verifier: verifier,
  }));
  return { home, client_id, address: `${gateway}/api/v1/oauth/authorize?${query}`, redeem };
}

const back = (program) => new URL(program.home.asked.at(-1), program.home.url).searchParams;

await check('a stranger signs in with a password and comes back to where they were going', async () => {
  const page = await visitor();
  await page.goto(`${gateway}/device?user_code=ABCD`);
  await shot(page, 'sign-in');
  await fillIn(page, 'bob', 'not the password');
  await page.getByRole('alert').waitFor();
  await shot(page, 'sign-in-wrong');
  await fillIn(page, 'bob');
  await page.waitForURL(`${gateway}/device?user_code=ABCD`);
  assert.deepEqual(page.problems.filter((text) => !text.includes('403')), []);
});

await check('the keyboard is enough', async () => {
  const page = await visitor();
  await page.goto(`${gateway}/sign-in`);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  for (const text of [null, 'bob@example.com', password]) {
    await page.keyboard.press('Tab');
    if (text) await page.keyboard.type(text);
  }
  await page.keyboard.press('Enter');
  await page.waitForURL(`${gateway}/account`);
});

await check('a one-time link signs in once', async () => {
  const page = await visitor();
  await page.goto(link);
  await shot(page, 'link');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${gateway}/account`);
  const other = await visitor();
  await other.goto(link);
  await other.getByText('This link was used already').waitFor();
});

await check('a name with markup in it is text', async () => {
  const page = await signedIn('carol', true);
  assert.match(await page.getByRole('heading', { level: 1 }).textContent(), /^Carol <script>/);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
});

await check('consent: sign in, approve, and the program gets a code that works', async () => {
  const app = await program('Example Editor');
  const page = await visitor();
  await page.goto(app.address);
  await fillIn(page, 'bob');
  await page.getByRole('heading', { name: 'Let “Example Editor” act for you?' }).waitFor();
  await shot(page, 'consent');
  assert.deepEqual(app.home.asked, [], 'nothing reaches the program before the decision');
  const text = await page.locator('main').textContent();
  for (const part of ['unverified', '127.0.0.1', 'bob@example.com', 'Fixture']) assert.ok(text.includes(part), part);
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.waitForURL(/callback/);
  const answer = back(app);
  assert.equal(answer.get('state'), 'st&te');
  assert.equal(answer.get('iss'), gateway);
  const tokens = await app.redeem(answer.get('code'));
  assert.equal(tokens.status, 200, tokens.text);
  const credential = { authorization: `Bearer ${JSON.parse(tokens.text).access_token}` };
  const called = await call('test_simple_text', {}, credential);
  assert.ok(called.result?.content, JSON.stringify(called));
  assert.deepEqual(page.problems, []);
});

await check('consent: refuse, and the program learns just that', async () => {
  const app = await program('Example Editor');
  const page = await signedIn('bob');
  await page.goto(app.address);
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.waitForURL(/callback/);
  const answer = back(app);
  assert.deepEqual([answer.get('error'), answer.get('state'), answer.get('code')], ['access_denied', 'st&te', null]);
});

await check('consent: a request that cannot be trusted goes nowhere', async () => {
  const app = await program('Example Editor');
  const evil = await listener();
  const page = await signedIn('bob');
  for (const spoiled of [
    app.address.replace(encodeURIComponent(app.home.url), encodeURIComponent(evil.url + '.evil.example')),
    app.address.replace(encodeURIComponent('/callback'), encodeURIComponent('/other')),
    app.address.replace(/client_id=[^&]*/, 'client_id=nobody'),
    app.address.replace(/redirect_uri=[^&]*/, 'redirect_uri=javascript%3Aalert(1)'),
  ]) {
    await page.goto(spoiled);
    assert.ok(page.url().startsWith(gateway), page.url());
    await page.getByRole('heading', { name: 'This request cannot be answered' }).waitFor();
  }
  await shot(page, 'consent-wrong');
  assert.deepEqual([...app.home.asked, ...evil.asked], []);
});

await check('consent: a program named like an attack is only text', async () => {
  const app = await program(PAYLOAD.replace('\u202e', ''));
  const page = await signedIn('bob', true);
  await page.goto(app.address);
  await page.getByRole('heading', { level: 1, name: /window\.pwned/ }).waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await shot(page, 'consent-attack');
  assert.deepEqual(page.problems, []);
});

await check('confirmation: the person behind the call approves exactly it, once', async () => {
  const args = { text: 'confirm ' + PAYLOAD, amount: 12345678901234567890 };
  const url = approvalUrl(await call('test_simple_text', args));
  const page = await visitor(true);
  await page.goto(url);
  await fillIn(page, 'bob');
  await page.getByRole('heading', { name: 'Approve this call?' }).waitFor();
  await shot(page, 'confirmation');
  const text = await page.locator('main').textContent();
  for (const part of ['bob@example.com (you)', 'fixture', 'test_simple_text', 'cannot be taken back', '⟨U+202E⟩']) {
    assert.ok(text.includes(part), `${part} in ${text}`);
  }
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByText('The call may pass once').waitFor();
  await shot(page, 'confirmation-approved');
  const other = await call('test_simple_text', { ...args, text: 'confirm something else' });
  approvalUrl(other);
  const passed = await call('test_simple_text', args);
  assert.ok(!passed.result?.isError, JSON.stringify(passed));
  approvalUrl(await call('test_simple_text', args));
  assert.deepEqual(page.problems, []);
});

await check('confirmation: refused, and it stays refused', async () => {
  const args = { text: 'confirm refusal' };
  const url = approvalUrl(await call('test_simple_text', args));
  const page = await signedIn('bob');
  await page.goto(url);
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.getByText('Refused.').waitFor();
  await page.goto(url);
  assert.equal(await page.getByRole('button', { name: 'Approve' }).count(), 0);
  await shot(page, 'confirmation-refused');
});

await check('confirmation: only who is asked decides, and to others it looks absent', async () => {
  const url = approvalUrl(await call('test_error_handling', {}));
  const carol = await signedIn('carol');
  const absent = await carol.goto(url.replace(/[0-9a-f]{4}$/, 'ffff'));
  const foreign = await carol.goto(url);
  assert.deepEqual([foreign.status(), absent.status()], [404, 404]);
  const bob = await signedIn('bob');
  await bob.goto(url);
  assert.equal(await bob.getByRole('button', { name: 'Approve' }).count(), 0, 'not his own');
  await shot(bob, 'confirmation-others');
  const alice = await signedIn('alice');
  await alice.goto(url);
  await alice.getByRole('button', { name: 'Approve' }).click();
  await alice.getByText('The call may pass once').waitFor();
  const passed = await call('test_error_handling', {});
  assert.equal(passed.result?._meta?.['com.runlayer/refusal'], undefined, JSON.stringify(passed));
});

await check('confirmation: long arguments are cut and say so', async () => {
  const url = approvalUrl(await call('test_simple_text', { text: 'confirm ' + 'long '.repeat(9000) }));
  const page = await signedIn('bob');
  await page.goto(url);
  await page.getByText('more characters are not shown').waitFor();
  await shot(page, 'confirmation-long');
});

/** Asks for a device's code. */
async function device(client_id) {
  const asked = await post('/api/v1/oauth/device', new URLSearchParams({ client_id }));
  assert.equal(asked.status, 200, asked.text);
  const { user_code, device_code } = JSON.parse(asked.text);
  const poll = () => post('/api/v1/oauth/token', new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code, client_id,
  }));
  return { user_code, poll };
}

await check('device: its code is entered, looked at, approved', async () => {
  const { client_id } = await program('Example CLI');
  const waiting = await device(client_id);
  const page = await signedIn('bob');
  await page.goto(`${gateway}/device`);
  await page.getByLabel('Code').fill('AAAA-AAAA');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('alert').waitFor();
  await shot(page, 'device');
  await page.getByLabel('Code').fill(waiting.user_code.toLowerCase());
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'Let “Example CLI” in?' }).waitFor();
  await shot(page, 'device-asked');
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByRole('heading', { name: 'The device is let in' }).waitFor();
  await shot(page, 'device-done');
  const tokens = await waiting.poll();
  assert.equal(tokens.status, 200, tokens.text);
});

await check('device: refused, it gets nothing', async () => {
  const { client_id } = await program('Example CLI');
  const waiting = await device(client_id);
  const page = await signedIn('bob');
  await page.goto(`${gateway}/device?user_code=${waiting.user_code}`);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Refuse' }).click();
  await page.getByRole('heading', { name: 'The device is refused' }).waitFor();
  const answer = JSON.parse((await waiting.poll()).text);
  assert.equal(answer.error, 'access_denied');
});

await check('connect: agree at the server, come back, see it, give it back', async () => {
  const page = await visitor();
  await page.goto(`${gateway}/connect/wiki`);
  await fillIn(page, 'bob');
  await page.getByRole('heading', { name: 'Connect your account at Wiki' }).waitFor();
  await shot(page, 'connect');
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByRole('button', { name: 'Agree', exact: true }).click();
  await page.waitForURL(`${gateway}/connect/wiki`);
  await page.getByText('Your client can try again').waitFor();
  await shot(page, 'connected');
  await page.goto(`${gateway}/account`);
  await page.getByRole('link', { name: 'Wiki', exact: true }).waitFor();
  await shot(page, 'account-connected');
  await page.getByRole('button', { name: 'Disconnect Wiki', exact: true }).click();
  await page.waitForURL(`${gateway}/account`);
  await page.getByRole('heading', { name: 'Connected accounts' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'wiki' }).count(), 0);
  await page.goto(`${gateway}/connect/wiki`);
  await page.getByRole('heading', { name: 'Connect your account at Wiki' }).waitFor();
  assert.deepEqual(page.problems, []);
});

await check('connect: not agreed, nothing is connected and the page says why', async () => {
  const page = await signedIn('alice');
  await page.goto(`${gateway}/connect/wiki`);
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByRole('button', { name: 'Do not agree' }).click();
  await page.waitForURL(/\/connect\/callback/);
  await page.getByRole('heading', { name: 'Your account at Wiki was not connected' }).waitFor();
  await page.getByText('connect again and agree').waitFor();
  await shot(page, 'connect-refused');
  await page.getByRole('link', { name: 'Connect again' }).click();
  await page.getByRole('heading', { name: 'Connect your account at Wiki' }).waitFor();
  await page.goto(`${gateway}/account`);
  assert.equal(await page.getByRole('link', { name: 'wiki' }).count(), 0);
});

await check('account: a key is made, shown once, works, and is revoked', async () => {
  const page = await signedIn('bob');
  await page.getByLabel('Name of a new key').fill('laptop "x"');
  await page.getByRole('button', { name: 'Make a key' }).click();
  await page.getByRole('heading', { name: /Your new key/ }).waitFor();
  const made = (await page.locator('pre').textContent()).trim();
  assert.match(made, /^rl_[\w-]{43}$/);
  const use = () => fetch(`${gateway}/api/v1/servers`, { headers: { authorization: `Bearer ${made}` } });
  assert.equal((await use()).status, 200);
  await page.getByRole('link', { name: 'Back to your account' }).click();
  assert.ok(!(await page.content()).includes(made));
  // It is noted beside the calls, some seconds later.
  const row = page.getByRole('listitem').filter({ hasText: made.slice(-4) });
  for (let tries = 0; tries < 60 && !(await row.textContent()).includes('last used'); tries += 1) {
    await page.waitForTimeout(500);
    await page.reload();
  }
  assert.match(await row.textContent(), /last used \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
  await shot(page, 'account');
  await page.getByRole('button', { name: `Revoke the key ending in ${made.slice(-4)}` }).click();
  await page.waitForURL(`${gateway}/account`);
  assert.equal(await page.getByText('laptop "x"').count(), 0);
  assert.equal((await use()).status, 401);
});

await check('account: what a program was given is listed and revoked', async () => {
  const app = await program('Listed Editor');
  const page = await signedIn('alice');
  await page.goto(app.address);
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.waitForURL(/callback/);
  const tokens = JSON.parse((await app.redeem(back(app).get('code'))).text);
  const use = () => fetch(`${gateway}/api/v1/proxy/fixture/mcp`, {
    method: 'DELETE', headers: { authorization: `Bearer ${tokens.access_token}`, 'mcp-session-id': 'x' } });
  assert.notEqual((await use()).status, 401);
  await page.goto(`${gateway}/account`);
  await shot(page, 'account-programs');
  await page.getByRole('button', { name: /Revoke what Listed Editor/ }).first().click();
  await page.waitForURL(`${gateway}/account`);
  assert.equal(await page.getByText('Listed Editor').count(), 0);
  assert.equal((await use()).status, 401);
});

await check('account: another browser is signed out from here', async () => {
  const other = await signedIn('alice');
  const page = await signedIn('alice');
  const mine = page.locator('li', { hasText: '(this one)' });
  assert.equal(await mine.count(), 1);
  for (;;) {
    const others = page.locator('section', { hasText: 'Where you are signed in' }).locator('li').filter({ hasNotText: '(this one)' });
    if (await others.count() === 0) break;
    await others.first().getByRole('button').click();
    await page.waitForLoadState();
  }
  await other.goto(`${gateway}/account`);
  assert.match(other.url(), /\/sign-in\?next=/);
  await page.reload();
  assert.equal(page.url(), `${gateway}/account`);
});

await check('signing out ends the session, not only the cookie', async () => {
  const page = await signedIn('bob');
  const cookies = await page.context().cookies();
  await page.getByRole('button', { name: 'Sign out', exact: true }).first().click();
  await page.waitForURL(/\/sign-in/);
  await page.context().addCookies(cookies);
  await page.goto(`${gateway}/account`);
  assert.match(page.url(), /\/sign-in\?next=/);
});

await check('the cookie changes at sign-in and is out of reach of scripts', async () => {
  const page = await visitor(true);
  await page.goto(`${gateway}/sign-in`);
  const [before] = await page.context().cookies();
  await fillIn(page, 'bob');
  await page.waitForURL(`${gateway}/account`);
  const [after] = await page.context().cookies();
  assert.notEqual(before.value, after.value);
  assert.deepEqual([after.httpOnly, after.sameSite, after.path], [true, 'Lax', '/']);
  assert.equal(await page.evaluate(() => document.cookie), '');
});

await check('another site can neither frame a page nor post a form', async () => {
  const page = await signedIn('bob', true);
  const url = approvalUrl(await call('test_simple_text', { text: 'confirm framing' }));
  const framing = await listener(() => `<title>x</title><iframe src="${url}"></iframe>`);
  await page.goto(framing.url);
  await page.waitForLoadState('networkidle');
  const frame = page.frames().find((frame) => frame !== page.mainFrame());
  assert.equal(await frame?.locator('text=Approve').count().catch(() => 0) ?? 0, 0, 'the page shows in a frame');
  const posting = await listener(() => `<title>x</title><form method="post" action="${gateway}/account/keys">
    <input name="name" value="stolen"></form><script>document.forms[0].submit()</script>`);
  const answered = page.waitForResponse(`${gateway}/account/keys`);
  await page.goto(posting.url);
  assert.equal((await answered).status(), 403);
  await page.goto(`${gateway}/account`);
  assert.equal(await page.getByText('stolen').count(), 0);
});

await check('an open redirect is none', async () => {
  const evil = await listener();
  for (const next of [evil.url, `//${evil.url.slice(7)}`, `/\\${evil.url.slice(7)}`, 'AAAA', 'javascript:alert(1)']) {
    const page = await visitor();
    await page.goto(`${gateway}/sign-in?next=${encodeURIComponent(next)}`);
    await fillIn(page, 'bob');
    await page.waitForURL(`${gateway}/account`);
  }
  assert.deepEqual(evil.asked, []);
});

await browser.close();
process.exit(0);
