#!/usr/bin/env bash
# The conformance suite's client scenarios about authorization, against the gateway's connector: the client that the
# suite runs is a person behind a gateway, see tests/src/bin/conformance_client.rs. Not run, and why:
#   auth/basic-cimd                    wants the client id https://conformance-test.local/client-metadata.json; ours is
#                                      at our own address (the scenario warns and fails nothing)
#   auth/client-credentials-jwt, auth/enterprise-managed-authorization, auth/dpop, auth/dpop-nonce, auth/wif-jwt-bearer
#                                      extensions that the connector does not have
#   auth/2025-03-26-oauth-endpoint-fallback
#                                      endpoints by convention, without metadata: not followed
#   auth/scope-step-up                 its server takes `initialize` without a token, so that the first challenge is not
#                                      seen: no check fails, one warns, and the person gives up
#   what is not about authorization    the gateway forwards bytes; run.sh compares them
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"

scenarios="metadata-default metadata-var1 metadata-var2 metadata-var3 scope-from-www-authenticate
    scope-from-scopes-supported scope-omitted-when-undefined scope-retry-limit token-endpoint-auth-basic
    token-endpoint-auth-post token-endpoint-auth-none pre-registration resource-mismatch offline-access-scope
    offline-access-not-supported authorization-server-migration iss-supported iss-not-advertised iss-supported-missing iss-wrong-issuer
    iss-unexpected iss-normalized metadata-issuer-mismatch client-credentials-basic
    2025-03-26-oauth-metadata-backcompat"

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
