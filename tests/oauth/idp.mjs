// A real OpenID Connect provider (oidc-provider) for the tests: the company's identity provider.
// Usage: PORT=... REDIRECT_URI=... node idp.mjs DIR_WITH_NODE_MODULES
// Client `gateway` with the secret `gateway-secret`; whoever signs in as NAME is NAME@example.com.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [dir] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${dir}/package.json`));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const port = Number(process.env.PORT);
const groups = { bob: ["engineering"], mallory: ["engineering"] };
const domains = { mallory: "elsewhere.example" };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "gateway",
      client_secret: "gateway-secret",
      redirect_uris: [process.env.REDIRECT_URI],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  cookies: { keys: ["of the tests only"] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      email: `${name}@${domains[name] ?? "example.com"}`,
      email_verified: name !== "unverified",
      name: name[0].toUpperCase() + name.slice(1),
      groups: groups[name] ?? [],
    }),
  }),
});
provider.listen(port, "127.0.0.1", () => console.log("the identity provider is up"));
