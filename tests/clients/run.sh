#!/usr/bin/env bash
# Real clients against a gateway of their own: MCP Inspector, the TypeScript clients, mcp-remote and the
# Python client; list, call, denied call; legacy and modern. Then a real server whose calls become tasks.
set -euo pipefail
. "$(dirname "$0")/world.sh"

install_npm
install_python
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
[[users]]
email = "dana@example.com"
name = "Dana"
roles = ["super_admin"]
[[servers]]
slug = "everything"
title = "Everything"
url = "$upstream"
STATE
"$bin/gateway" apply --config "$world/gateway.toml" "$world/tasks.toml" >>"$world/apply.log"
carol=$("$bin/gateway" key create --config "$world/gateway.toml" --user carol@example.com)
dana=$("$bin/gateway" key create --config "$world/gateway.toml" --user dana@example.com)

passed=0
failed=0
count() { if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

# inspect ERA ARGUMENTS...; at the server and as the person of INSPECT_URL and INSPECT_KEY.
inspect() {
    local era=$1
    shift
    timeout 60 "$node" "$npm_dir/node_modules/.bin/mcp-inspector" --cli "${INSPECT_URL:-$PROXY_URL}" \
        --transport http --protocol-era "$era" \
        --header "Authorization: Bearer ${INSPECT_KEY:-$API_KEY}" --stored-auth-only "$@" 2>&1 || true
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

# What the seed's prompts need, about the calls that were just made.
export RUNLAYER_URL=$gateway/api/v1/proxy/runlayer/mcp
for era in legacy modern; do
    # ask TOOL ARGUMENT...
    ask() {
        local tool=$1 arguments=()
        shift
        for argument in "$@"; do arguments+=(--tool-arg "$argument"); done
        INSPECT_URL=$RUNLAYER_URL INSPECT_KEY=$dana \
            inspect "$era" --method tools/call --tool-name "$tool" "${arguments[@]}"
    }
    ranked=$(ask export_analytics_dataset dataset=top_tools)
    denied=$(ask list_audit_logs 'action_type=["access_denied"]' limit=5)
    preview=$(ask set_server_status server_id=fixture status=disabled)
    if [[ $ranked == *test_simple_text* && $denied == *target_not_found* &&
        $preview == *"It would change"* ]]; then
        echo "ok   MCP Inspector, $era: the seed's prompts"
        count 0
    else
        echo "FAIL MCP Inspector, $era: ranked: $ranked; denied: $denied; preview: $preview"
        count 1
    fi
done
while IFS= read -r line; do
    echo "$line"
    case $line in ok*) count 0 ;; FAIL*) count 1 ;; esac
done < <(
    ADMIN_KEY=$dana USER_KEY=$key timeout 300 "$python" "$here/prompts.py" legacy auto 2>&1 ||
        echo "FAIL Python client, the seed's prompts: exit $?"
)
echo "clients: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge 36 ]
