//! Payments and shops.

use super::{Rule, token};

pub(super) const RULES: &[Rule] = &[
    token(
        "stripe_key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_org_"],
        "(?:[sr]k_(?:live|test)|sk_org_(?:live|test))_[A-Za-z0-9]{24,}",
    ),
    token("stripe_webhook_secret", &["whsec_"], "whsec_[A-Za-z0-9+/]{32,64}={0,2}"),
    token(
        "square_secret",
        &["sq0csp-", "sq0atp-"],
        "sq0(?:csp-[A-Za-z0-9_-]{43}|atp-[A-Za-z0-9_-]{22})",
    ),
    token(
        "square_access_token",
        &["EAAA"],
        r"(?-u:\b)(?P<it>EAAA[A-Za-z0-9_-]{60})(?:[^A-Za-z0-9_-]|$)",
    ),
    token(
        "shopify_token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        "shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    ),
    token(
        "braintree_token",
        &["access_token$"],
        r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}",
    ),
    token(
        "plaid_token",
        &["access-sandbox-", "access-development-", "access-production-"],
        "access-(?:sandbox|development|production)-[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}",
    ),
    token("mollie_key", &["live_"], r"(?-u:\b)live_[A-Za-z0-9]{30}(?-u:\b)"),
    token(
        "gocardless_token",
        &["live_"],
        r"(?-u:\b)(?P<it>live_[A-Za-z0-9_-]{40})(?:[^A-Za-z0-9_-]|$)",
    ),
    token(
        "flutterwave_key",
        &["FLWSECK-", "FLWSECK_TEST-"],
        "FLWSECK(?:_TEST)?-[a-fA-F0-9]{12,40}-X",
    ),
    token("duffel_token", &["duffel_"], "duffel_(?:live|test)_[A-Za-z0-9_-]{43}"),
    token("easypost_key", &["EZAK", "EZTK"], r"(?-u:\b)EZ[AT]K[A-Za-z0-9]{54}(?-u:\b)"),
    token("shippo_token", &["shippo_"], "shippo_(?:live|test)_[a-f0-9]{40}"),
];
