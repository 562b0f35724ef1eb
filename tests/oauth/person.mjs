// A person at a browser without scripts: follows links and redirects, keeps cookies per host, fills in forms.
// As a program: `node person.mjs URL` signs in as PERSON (default bob) at the identity provider or at the gateway itself
// with PASSWORD, or with the one-time sign-in link LINK, agrees to what the gateway asks, and ends where the client
// waits. Loops are bounded.
import { argv, env, exit } from "node:process";
import { pathToFileURL } from "node:url";

const STEPS = 40;

export class Person {
  constructor(name = "bob", password = "any") {
    this.known = { login: name, email: `${name}@example.com`, password };
    this.cookies = new Map();
  }

  /** Sends one request with the host's cookies and keeps those that come back. */
  async send(url, form) {
    const jar = this.cookies.get(url.host) ?? new Map();
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { accept: "text/html", ...(cookie && { cookie }) };
    const post = form && {
      method: "POST",
      body: new URLSearchParams(form),
      headers: { ...headers, origin: url.origin },
    };
    const answer = await fetch(url, { redirect: "manual", headers, ...post });
    for (const line of answer.headers.getSetCookie()) {
      const [pair] = line.split(";");
      const [name, ...value] = pair.split("=");
      jar.set(name.trim(), value.join("="));
    }
    this.cookies.set(url.host, jar);
    return answer;
  }

  /** Follows redirects until a page comes, or until a redirect leads to `stop`. */
  async follow(url, form, stop) {
    for (let step = 0; step < STEPS; step += 1) {
      const answer = await this.send(url, form);
      const location = answer.headers.get("location");
      if (!location) return { url, status: answer.status, page: await answer.text() };
      url = new URL(location, url);
      form = undefined;
      if (stop?.(url)) return { url, status: answer.status, page: "" };
    }
    throw new Error(`more than ${STEPS} redirects, the last to ${url}`);
  }

  /**
   * Visits `start` and answers every form: signs in, agrees (or presses the button whose text or value
   * `refuse` matches). Returns the first redirect that `stop` accepts, or the last page without a form.
   */
  async visit(start, { stop, refuse = false } = {}) {
    let place = await this.follow(new URL(start), undefined, stop);
    for (let step = 0; step < STEPS; step += 1) {
      if (stop?.(place.url)) return place;
      const form = choose(place.page, refuse);
      if (!form) return place;
      for (const [field, value] of Object.entries(this.known)) {
        if (field in form.fields && !form.fields[field]) form.fields[field] = value;
      }
      const to = new URL(form.action || place.url, place.url);
      place =
        form.method === "post"
          ? await this.follow(to, form.fields, stop)
          : await this.follow(new URL(`?${new URLSearchParams(form.fields)}`, to), undefined, stop);
    }
    throw new Error(`more than ${STEPS} forms, the last at ${place.url}`);
  }
}

/** The form to send next: never the ones that cancel or sign out. */
function choose(page, refuse) {
  const forms = [...page.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, head, body]) => ({
    action: attribute(head, "action"),
    method: (attribute(head, "method") || "get").toLowerCase(),
    fields: fields(body, refuse),
  }));
  return forms.find(({ action }) => !/sign-out|abort/.test(action ?? ""));
}

function fields(body, refuse) {
  const found = {};
  for (const [tag] of body.matchAll(/<input\b[^>]*>/gi)) {
    const name = attribute(tag, "name");
    if (name && attribute(tag, "type") !== "submit") found[name] = attribute(tag, "value") ?? "";
  }
  const buttons = [...body.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button>/gi)];
  const no = /refuse|deny|cancel|no\b/i;
  const pressed = buttons.find(([, head, text]) => no.test(`${attribute(head, "value") ?? ""} ${text}`) === refuse);
  const [, head] = pressed ?? buttons[0] ?? [];
  if (head && attribute(head, "name")) found[attribute(head, "name")] = attribute(head, "value") ?? "";
  return found;
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\b${name}="([^"]*)"`, "i"));
  const entities = { "&amp;": "&", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&#x27;": "'", "&lt;": "<", "&gt;": ">", "&#38;": "&" };
  return found?.[1].replace(/&[#\w]+;/g, (entity) => entities[entity] ?? entity);
}

if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) {
  const person = new Person(env.PERSON, env.PASSWORD);
  if (env.LINK) await person.visit(env.LINK, { stop: ({ pathname }) => pathname === "/account" });
  const end = await person.visit(argv[2]);
  if (end.status >= 400) console.error(`${end.url.origin}${end.url.pathname}: ${end.status}\n${end.page}`);
  exit(end.status < 400 ? 0 : 1);
}
