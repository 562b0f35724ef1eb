#!/usr/bin/env bash
# A newcomer: starts ./demo, reads what it prints, gives the proxy URL to clients and nothing else, signs in as the person
# that it names, and calls a tool. No key anywhere. mcp-remote opens a real browser, the Python client a scripted one.
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"
install_npm
install_python
install_browser
here=$root/tests/oauth

"$root/demo" >"$world/screen" 2>"$world/demo.log" &
demo=$!
children+=("$demo")
# The first time it builds.
await "$world/screen" "Serving until Ctrl-C" "$demo" 600 || { tail -n 30 "$world/demo.log" >&2 && exit 1; }

# What a person reads off the screen: the URL below a server's name, the password beside an address.
url=$(sed -n '/^   tickets: /,/^$/ s/^ *proxy URL *//p' "$world/screen")
password=$(sed -n 's/^ *bob@example.com .*password //p' "$world/screen")
echo "the demo says: $url, bob@example.com, a password of ${#password} letters"

mkdir -p "$world/home"
printf '#!/bin/sh\nexec "%s" "%s" "$1"\n' "$node" "$here/clicks.mjs" >"$world/chromium"
printf '#!/bin/sh\nexec "%s" "%s" "$1"\n' "$node" "$here/person.mjs" >"$world/scripted"
chmod +x "$world/chromium" "$world/scripted"
export HOME=$world/home MCP_REMOTE_CONFIG_DIR=$world/mcp-remote PLAYWRIGHT=$npm_pages
export PROXY_URL=$url PERSON=bob EMAIL=bob@example.com PASSWORD=$password
export TOOL=list_tickets ANSWER="Printer on fire" ABSENT=close_ticket

passed=0
failed=0
while IFS= read -r line; do
    echo "$line"
    case $line in ok*) passed=$((passed + 1)) ;; FAIL*) failed=$((failed + 1)) ;; esac
done < <(
    BROWSER=$world/chromium timeout 180 "$node" "$here/clients.mjs" "$npm_dir" mcp-remote 2>&1 ||
        echo "FAIL clients.mjs: exit $?"
    BROWSER=$world/scripted timeout 180 "$python" "$here/client.py" 2>&1 || echo "FAIL client.py: exit $?"
)
# Ctrl-C ends it, and nothing of it stays.
kill -INT "$demo"
if wait "$demo"; then
    passed=$((passed + 1))
    echo "ok   Ctrl-C ends the demo"
else
    failed=$((failed + 1))
    echo "FAIL Ctrl-C ended the demo with exit $?"
fi
echo "demo: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ge 5 ]
