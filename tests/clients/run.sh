#!/usr/bin/env bash
# Real clients against a gateway of their own: MCP Inspector, the TypeScript clients, mcp-remote and the
# Python client; list, call, denied call; legacy and modern. Then a real server whose calls become tasks.
set -euo pipefail
. "$(dirname "$0")/world.sh"

install_npm
python=$target/venv/bin/python
if ! cmp -s "$here/requirements.txt" "$target/venv/installed.txt"; then
    python3 -m venv "$target/venv"
    "$target/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$target/venv/installed.txt"
fi
start_fixture
start_gateway "" "$here/policies.toml"
export PROXY_URL=$gateway/api/v1/proxy/fixture/mcp API_KEY=$key
# Nothing of the clients may come from or end in the home directory.
export HOME=$world/home MCP_REMOTE_CONFIG_DIR=$world/mcp-remote
mkdir -p "$HOME"

# A second server comes while the gateway runs, and a second person.
start_upstream everything "$node" --import "$here/loopback.mjs" \
    "$npm_dir/node_modules/@modelcontextprotocol/server-everything/dist/index.js" streamableHttp
cat - "$here/tasks.toml" >"$world/tasks.toml" <<STATE
[[users]]
email = "carol@example.com"
name = "Carol"
[[servers]]
slug = "everything"
title = "Everything"
url = "$upstream"
STATE
"$bin/gateway" apply --config "$world/gateway.toml" "$world/tasks.toml" >>"$world/apply.log"
carol=$("$bin/gateway" key create --config "$world/gateway.toml" --user carol@example.com)

passed=0
failed=0
count() { if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

# inspect ERA ARGUMENTS...
inspect() {
    local era=$1
    shift
    timeout 60 "$node" "$npm_dir/node_modules/.bin/mcp-inspector" --cli "$PROXY_URL" --transport http \
        --protocol-era "$era" --header "Authorization: Bearer $API_KEY" --stored-auth-only "$@" 2>&1 || true
}
for era in legacy modern; do
    listed=$(inspect "$era" --method tools/list)
    called=$(inspect "$era" --method tools/call --tool-name test_simple_text)
    denied=$(inspect "$era" --method tools/call --tool-name test_simple_text --tool-arg text=forbidden)
    if [[ $listed == *test_simple_text* && $listed != *test_image_content* &&
        $called == *"simple text response"* && $denied == *"That word is forbidden"* ]]; then
        echo "ok   MCP Inspector, $era"
        count 0
    else
        echo "FAIL MCP Inspector, $era: listed: $listed; called: $called; denied: $denied"
        count 1
    fi
done

while IFS= read -r line; do
    echo "$line"
    case $line in ok*) count 0 ;; FAIL*) count 1 ;; esac
done < <(
    timeout 300 "$node" "$here/clients.mjs" "$npm_dir" 2>&1 || echo "FAIL TypeScript clients: exit $?"
    timeout 300 "$python" "$here/client.py" 2>&1 || echo "FAIL Python client: exit $?"
    PROXY_URL=$gateway/api/v1/proxy/everything/mcp BOB_KEY=$key CAROL_KEY=$carol \
        timeout 120 "$node" "$here/tasks.mjs" "$npm_dir" 2>&1 || echo "FAIL tasks: exit $?"
)
echo "clients: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge 16 ]
