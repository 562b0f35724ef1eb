//! Clouds, platforms, databases as a service, and what configures them.

use std::ops::Range;

use super::{Rule, Seek, plausible, secret, token};

pub(super) const RULES: &[Rule] = &[
    token("aws_access_key_id", &["AKIA", "ASIA", "ABIA", "ACCA"], "A(?:KI|SI|BI|CC)A[A-Z2-7]{16}"),
    // Forty characters of base64 and nothing else: only beside its name.
    token(
        "aws_secret_access_key",
        &[
            "aws_secret_access_key",
            "aws_secret_key",
            "awsSecretAccessKey",
            "awsSecretKey",
            "secretAccessKey",
            "secret_access_key",
        ],
        r#"(?i:[a-z_]+)["'\]]{0,2}[ \t]{0,4}(?::|=>|=|,|is)?[ \t]{0,4}["']?(?P<it>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    token("aws_bedrock_key", &["ABSKQmVkcm9ja0FQSUtleS"], "ABSK[A-Za-z0-9+/]{109,}={0,2}"),
    token("google_api_key", &["AIza"], "AIza[A-Za-z0-9_-]{35}"),
    token("google_oauth_client_secret", &["GOCSPX-"], "GOCSPX-[A-Za-z0-9_-]{28}"),
    token("google_oauth_token", &["ya29."], r"ya29\.[A-Za-z0-9_-]{20,}"),
    token("google_refresh_token", &["1//0"], r"(?-u:\b)1//0[A-Za-z0-9_-]{40,}"),
    token(
        "google_service_account",
        &["private_key_id"],
        r#"private_key_id\\?["']?[ \t]{0,4}[:=][ \t]{0,4}\\?["']?(?P<it>[a-f0-9]{40})"#,
    ),
    token("azure_storage_key", &["AccountKey="], "AccountKey=(?P<it>[A-Za-z0-9+/]{86}==)"),
    token(
        "azure_shared_access_key",
        &["SharedAccessKey="],
        "SharedAccessKey=(?P<it>[A-Za-z0-9+/]{43}=)",
    ),
    token(
        "azure_sas",
        &["&sig=", "?sig=", "&amp;sig="],
        r"(?:[&?]|&amp;)sig=(?P<it>[A-Za-z0-9%/+]{42,90}(?:%3[dD]|=))",
    ),
    secret(
        "azure_client_secret",
        Seek::Byte { bytes: b"~", find: azure_client_secret },
        Some(plausible::token),
    ),
    token(
        "cloudflare_token",
        &["cfk_", "cfut_", "cfat_"],
        "cf(?:k|ut|at)_[A-Za-z0-9]{40}[0-9a-f]{8}",
    ),
    token("cloudflare_origin_ca_key", &["v1.0-"], r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    token("digitalocean_token", &["dop_v1_", "doo_v1_", "dor_v1_"], "do[opr]_v1_[a-f0-9]{64}"),
    token("alibaba_access_key_id", &["LTAI"], r"(?-u:\b)LTAI[A-Za-z0-9]{16,20}(?-u:\b)"),
    token("tencent_secret_id", &["AKID"], r"(?-u:\b)AKID[A-Za-z0-9]{32}(?-u:\b)"),
    token("yandex_key", &["AQVN"], r"(?-u:\b)AQVN[A-Za-z0-9_-]{35,38}"),
    token("vercel_token", &["vcp_", "vci_", "vca_", "vcr_", "vck_"], "vc[piark]_[A-Za-z0-9]{24,}"),
    token("netlify_token", &["nfp_"], "nfp_[A-Za-z0-9]{36}"),
    token("heroku_key", &["HRKU-AA"], "HRKU-AA[A-Za-z0-9_-]{58}"),
    token(
        "fly_token",
        &["fm2_", "fo1_"],
        "(?:fm2_[A-Za-z0-9+/]{100,}={0,3}|fo1_[A-Za-z0-9_-]{43})",
    ),
    token(
        "supabase_token",
        &["sbp_", "sb_secret_"],
        "sb(?:p_[a-f0-9]{40}|_secret_[A-Za-z0-9_-]{31})",
    ),
    token(
        "planetscale_secret",
        &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
        r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64}",
    ),
    token("neon_key", &["napi_"], r"(?-u:\b)napi_[a-z0-9]{64}"),
    token("databricks_token", &["dapi"], "dapi[a-f0-9]{32}(?:-[0-9])?"),
    token(
        "doppler_token",
        &["dp.pt.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit.", "dp.said.", "dp.st."],
        r"(?-u:\b)dp\.(?:(?:pt|ct|sa|said|scim|audit)|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,44}",
    ),
    token("vault_token", &["hvs.", "hvb.", "hvr."], r"(?-u:\b)hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    secret(
        "terraform_cloud_token",
        Seek::Byte { bytes: b".", find: terraform_cloud_token },
        Some(plausible::token),
    ),
    token("pulumi_token", &["pul-"], r"(?-u:\b)pul-[a-f0-9]{40}"),
    token("tailscale_key", &["tskey-"], "tskey-[a-z]{2,20}-[A-Za-z0-9_]{8,40}-[A-Za-z0-9_]{16,60}"),
    token("infracost_key", &["ico-"], r"(?-u:\b)ico-[A-Za-z0-9]{32}(?-u:\b)"),
    token("dropbox_token", &["sl.u.", "sl.B"], r"(?-u:\b)sl\.(?:u\.)?[A-Za-z0-9_-]{120,}"),
    token("onepassword_service_token", &["ops_eyJ"], "ops_eyJ[A-Za-z0-9+/_-]{200,}={0,2}"),
    token(
        "onepassword_secret_key",
        &["A3-"],
        r"(?-u:\b)A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}(?-u:\b)",
    ),
];

/// Three characters, a digit, `Q~`, 31 to 34 characters.
fn azure_client_secret(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = at.checked_sub(5)?;
    let [a, b, c, digit, b'Q'] = *bytes.get(start..at)? else { return None };
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_~.-".contains(byte);
    if !digit.is_ascii_digit() || ![a, b, c].iter().all(inner) {
        return None;
    }
    let after = bytes.get(at + 1..)?.iter().take(40).take_while(|byte| inner(byte)).count();
    // A sentence's full stop is not its.
    let after = after - usize::from(after == 35 && bytes.get(at + 35) == Some(&b'.'));
    (31..=34).contains(&after).then_some(start..at + 1 + after)
}

/// Fourteen characters, `.atlasv1.`, 60 to 70 characters.
fn terraform_cloud_token(text: &str, at: usize) -> Option<Range<usize>> {
    const MIDDLE: &[u8] = b".atlasv1.";
    let bytes = text.as_bytes();
    let rest = bytes.get(at..)?.strip_prefix(MIDDLE)?;
    let start = at.checked_sub(14)?;
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let after = rest.iter().take(71).take_while(|byte| inner(byte)).count();
    let before = bytes.get(start..at)?.iter().all(u8::is_ascii_alphanumeric);
    (before && (60..=70).contains(&after)).then_some(start..at + MIDDLE.len() + after)
}
