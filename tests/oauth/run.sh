#!/usr/bin/env bash
# People and programs that bring no key: real clients discover the authorization server, register, send a
# person to sign in at a real OpenID Connect provider, and call; agents use client credentials.
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"
install_npm
install_python
here=$root/tests/oauth

port=$(free_port)
idp_port=$(free_port)
PORT=$idp_port REDIRECT_URI=http://127.0.0.1:$port/sign-in/callback \
    "$node" "$here/idp.mjs" "$npm_dir" >"$world/idp.log" 2>&1 &
children+=($!)
await "$world/idp.log" "the identity provider is up" $!
start_fixture
cat >"$world/more.toml" <<CONFIG
[[sign_in.providers]]
name = "Example Inc."
issuer = "http://127.0.0.1:$idp_port"
client_id = "gateway"
client_secret = "gateway-secret"
scopes = ["openid", "email", "profile"]
allowed_domains = ["example.com"]
CONFIG
start_gateway "$port" "$here/policies.toml" "$world/more.toml" "$port"

# json FIELD: that member of the JSON object on stdin.
json() { "$node" -e 'console.log(JSON.parse(require("fs").readFileSync(0, "utf8"))[process.argv[1]])' "$1"; }

# An agent account of Bob's, which acts for itself and, with his leave, for him.
api() { curl --silent --show-error --fail-with-body -H "x-runlayer-api-key: $key" -H "content-type: application/json" "$@"; }
agent=$(api "$gateway/api/v1/agent-accounts" --data '{"name":"reporter"}')
CLIENT_ID=$(json client_id <<<"$agent")
CLIENT_SECRET=$(json client_secret <<<"$agent")
export CLIENT_ID CLIENT_SECRET API_KEY=$key PROXY_URL=$gateway/api/v1/proxy/fixture/mcp

# Nothing of the clients may come from or end in the home directory; their browser is a person without a screen.
mkdir -p "$world/home"
printf '#!/bin/sh\nexec "%s" "%s" "$1"\n' "$node" "$here/person.mjs" >"$world/browser"
chmod +x "$world/browser"
export HOME=$world/home MCP_REMOTE_CONFIG_DIR=$world/mcp-remote BROWSER=$world/browser

passed=0
failed=0
while IFS= read -r line; do
    echo "$line"
    case $line in ok*) passed=$((passed + 1)) ;; FAIL*) failed=$((failed + 1)) ;; esac
done < <(
    timeout 300 "$node" "$here/clients.mjs" "$npm_dir" 2>&1 || echo "FAIL clients.mjs: exit $?"
    timeout 300 "$python" "$here/client.py" 2>&1 || echo "FAIL client.py: exit $?"
    timeout 120 "$node" "$here/agents.mjs" "$gateway" 2>&1 || echo "FAIL agents.mjs: exit $?"
)
echo "oauth: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge 11 ]
