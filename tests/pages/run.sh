#!/usr/bin/env bash
# The pages in a real browser, with real clicks: a gateway of its own, its people signing in with passwords and
# links, a program that asks for consent, a call that waits, a device, an account at a server. PAGES_SHOTS=DIR keeps
# the screenshots.
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"

install_npm
pages=$(cd "$(dirname "$0")" && pwd)
install_browser
export GATEWAY__SIGN_IN__LOCAL=true
start_fixture
start_upstream wiki "$node" "$pages/upstream.mjs"
cat - "$pages/policies.toml" >"$world/people.toml" <<STATE
[[servers]]
slug = "wiki"
title = "Wiki"
url = "$upstream"
auth = { mode = "oauth_user" }
[[policies]]
name = "everyone uses the wiki"
effect = "allow"
principals = ["everyone"]
server = "wiki"
STATE
start_gateway "" "$world/people.toml"
password=$(head -c 18 /dev/urandom | base64)
for person in bob alice carol; do
    "$bin/gateway" user password --config "$world/gateway.toml" --user "$person@example.com" <<<"$password" >/dev/null
done
export GATEWAY_URL=$gateway API_KEY=$key PASSWORD=$password
GATEWAY_LINK=$("$bin/gateway" user link --config "$world/gateway.toml" --user carol@example.com)
export GATEWAY_LINK
# Nothing of the browser may come from or end in the home directory.
export HOME=$world/home PAGES_SHOTS=${PAGES_SHOTS:-$world/shots}
mkdir -p "$HOME" "$PAGES_SHOTS"

passed=0
failed=0
while IFS= read -r line; do
    echo "$line"
    case $line in
        ok*) passed=$((passed + 1)) ;;
        FAIL*) failed=$((failed + 1)) ;;
    esac
done < <(timeout 300 "$node" "$pages/pages.mjs" "$npm_pages" 2>&1 || echo "FAIL the browser: exit $?")
echo "pages: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge 22 ]
