#!/usr/bin/env bash
# The conformance suite's client scenarios about authorization, against the gateway's connector: the client that the
# suite runs is a person behind a gateway, see tests/src/bin/conformance_client.rs. A warning counts as a failure, too.
# Not run, and why:
#   auth/dpop, auth/dpop-nonce         tokens bound to a key of the client (RFC 9449, an extension): the connector presents
#                                      bearer tokens
#   auth/wif-jwt-bearer                a workload's own JWT as the grant (RFC 7523, an extension): where the gateway signs
#                                      in for itself it is a registered client, with a secret or a key
#   auth/enterprise-managed-authorization
#                                      an ID-JAG that the identity provider gives for a person's ID token (an extension):
#                                      the gateway keeps nobody's ID token; it takes ID-JAGs from clients
#   what is not about authorization    the gateway forwards bytes; run.sh compares them
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"

scenarios="metadata-default metadata-var1 metadata-var2 metadata-var3 scope-from-www-authenticate
    scope-from-scopes-supported scope-omitted-when-undefined scope-retry-limit token-endpoint-auth-basic
    token-endpoint-auth-post token-endpoint-auth-none pre-registration resource-mismatch offline-access-scope
    offline-access-not-supported authorization-server-migration iss-supported iss-not-advertised iss-supported-missing iss-wrong-issuer
    iss-unexpected iss-normalized metadata-issuer-mismatch client-credentials-basic
    client-credentials-jwt basic-cimd scope-step-up 2025-03-26-oauth-metadata-backcompat
    2025-03-26-oauth-endpoint-fallback"

install_npm
export GATEWAY_BIN=$bin/gateway
passed=0
failed=0
for scenario in $scenarios; do
    log=$world/client-$scenario.log
    if timeout 120 "$node" "$npm_dir/node_modules/@modelcontextprotocol/conformance/dist/index.js" \
        client --command "$bin/conformance-client" --scenario "auth/$scenario" --timeout 60000 >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "auth/$scenario failed:"
        sed -n '/^Stderr:/,/^Checks:/p; /^Failed Checks:/,$p' "$log"
    fi
done
echo "conformance, client: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
