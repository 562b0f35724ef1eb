#!/usr/bin/env bash
# The conformance suite's authorization scenarios against the gateway's own authorization server: a program registers
# itself, and a person at a browser signs in with a one-time link, agrees, and is sent back to the suite.
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"
suite=$root/tests/conformance

install_npm
start_fixture
export GATEWAY__SIGN_IN__LOCAL=true
start_gateway "" "$suite/policies.toml"
link=$("$bin/gateway" user link --config "$world/gateway.toml" --user bob@example.com)
port=$(free_port)
client=$("$node" - "$gateway/api/v1/oauth/register" "http://127.0.0.1:$port/callback" <<'REGISTER'
const [url, callback] = process.argv.slice(2);
const body = JSON.stringify({
  client_name: "Conformance", redirect_uris: [callback], token_endpoint_auth_method: "none",
  grant_types: ["authorization_code", "refresh_token"],
});
fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })
  .then((answer) => answer.json())
  .then(({ client_id, error }) => (client_id ? console.log(client_id) : Promise.reject(new Error(error))));
REGISTER
)

log=$world/authorization.log
: >"$log"
timeout 50 "$node" "$npm_dir/node_modules/@modelcontextprotocol/conformance/dist/index.js" authorization \
    --url "$gateway" --client-id "$client" -p "$port" \
    --resource "$gateway/api/v1/proxy/fixture/mcp" >"$log" 2>&1 &
running=$!
children+=("$running")
if await "$log" "/api/v1/oauth/authorize?" "$running"; then
    LINK=$link timeout 30 "$node" "$root/tests/oauth/person.mjs" \
        "$(grep -m 1 -o 'http://[^ ]*/api/v1/oauth/authorize?[^ ]*' "$log")" || true
fi
status=0
wait "$running" || status=$?

# Lines such as "✓ authorization-code-grant: 1 passed, 0 failed". What was skipped has passed nothing.
passed=0
failed=0
for scenario in authorization-server-metadata-endpoint authorization-code-grant; do
    if grep -q "$scenario: [1-9][0-9]* passed, 0 failed" "$log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
[ "$status" -eq 0 ] || failed=$((failed + 1))
[ "$failed" -eq 0 ] || sed -e 's/code=[^&" ]*/code=.../g' "$log"
echo "conformance, authorization server: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
