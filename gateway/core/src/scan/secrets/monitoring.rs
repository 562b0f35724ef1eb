//! Monitoring, analytics, and our own keys.

use super::{Rule, checked, checksums, token};

pub(super) const RULES: &[Rule] = &[
    checked("grafana_token", &["glsa_"], "glsa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8}", checksums::grafana),
    token("grafana_cloud_token", &["glc_eyJ"], "glc_eyJ[A-Za-z0-9+/]{32,}={0,2}"),
    token("grafana_legacy_key", &["eyJrIjoi"], "eyJrIjoi[A-Za-z0-9+/]{60,}={0,2}"),
    token("new_relic_key", &["NRAK-", "NRAA-"], "NRA[AK]-[A-Z0-9]{27}"),
    token("new_relic_insert_key", &["NRII-"], "NRII-[A-Za-z0-9_-]{32}"),
    token(
        "sentry_org_token",
        &["sntrys_eyJ"],
        "sntrys_eyJ[A-Za-z0-9+/=]{60,}_[A-Za-z0-9+/]{40,60}",
    ),
    token("sentry_user_token", &["sntryu_"], "sntryu_[a-f0-9]{64}"),
    token("dynatrace_token", &["dt0"], r"(?-u:\b)dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    token("posthog_key", &["phx_"], r"(?-u:\b)phx_[A-Za-z0-9]{40,60}(?-u:\b)"),
    token("gateway_key", &["rl_"], r"(?-u:\b)(?P<it>rl_[A-Za-z0-9_-]{43})(?:[^A-Za-z0-9_-]|$)"),
];
