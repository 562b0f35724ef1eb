//! Chat, mail, text messages and customer relations.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Rule, Seek, plausible, secret, token};

pub(super) const RULES: &[Rule] = &[
    token(
        "slack_token",
        &[
            "xoxb-", "xoxp-", "xoxa-", "xoxo-", "xoxr-", "xoxs-", "xoxe-", "xoxe.xox", "xoxc-",
            "xoxd-",
        ],
        r"xox(?:[abcdeoprs]-|e\.xox[bp]-)[A-Za-z0-9%][A-Za-z0-9%/+-]{15,}",
    ),
    token(
        "slack_app_token",
        &["xapp-"],
        "xapp-[0-9]-[A-Za-z0-9]{8,14}-[0-9]{8,15}-[a-f0-9]{40,80}",
    ),
    token(
        "slack_webhook",
        &["hooks.slack.com/", "hooks.slack-gov.com/"],
        r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?P<it>[A-Za-z0-9_/+-]{20,})",
    ),
    secret(
        "discord_bot_token",
        Seek::Byte { bytes: b".", find: discord_bot_token },
        Some(plausible::token),
    ),
    token(
        "discord_webhook",
        &["discord.com/api/", "discordapp.com/api/"],
        r"discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/(?P<it>[0-9]{17,20}/[A-Za-z0-9_-]{60,80})",
    ),
    secret(
        "telegram_bot_token",
        Seek::Byte { bytes: b":", find: telegram_bot_token },
        Some(plausible::token),
    ),
    token(
        "teams_webhook",
        &[".webhook.office.com/webhookb2/"],
        r"\.webhook\.office\.com/webhookb2/(?P<it>[A-Za-z0-9@/-]{80,})",
    ),
    token(
        "twilio_api_key",
        &[
            "SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9", "SKa", "SKb",
            "SKc", "SKd", "SKe", "SKf",
        ],
        r"(?-u:\b)SK[a-f0-9]{32}(?-u:\b)",
    ),
    token("sendgrid_key", &["SG."], r"(?-u:\b)SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    token("mailgun_key", &["key-"], r"(?-u:\b)key-[a-f0-9]{32}(?-u:\b)"),
    secret(
        "mailchimp_key",
        Seek::Byte { bytes: b"-", find: mailchimp_key },
        Some(plausible::token),
    ),
    token("brevo_key", &["xkeysib-", "xsmtpsib-"], "x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    token(
        "hubspot_token",
        &["pat-na", "pat-eu", "pat-ap"],
        r"(?-u:\b)pat-(?:na|eu|ap)[0-9]-[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}",
    ),
    token("facebook_access_token", &["EAA"], r"(?-u:\b)EAA[A-Za-z0-9]{100,}(?-u:\b)"),
];

/// The bot's id in base64, six characters of time, 27 to 38 of signature.
fn discord_bot_token(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if bytes.get(at + 7) != Some(&b'.') {
        return None;
    }
    let inner = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let before = bytes.get(at.saturating_sub(29)..at)?.iter().rev().take_while(inner).count();
    if !(23..=28).contains(&before) {
        return None;
    }
    let time = bytes.get(at + 1..at + 7)?.iter().take_while(inner).count();
    let signature = bytes.get(at + 8..)?.iter().take(39).take_while(inner).count();
    if time != 6 || !(27..=38).contains(&signature) {
        return None;
    }
    let id = STANDARD_NO_PAD.decode(bytes.get(at - before..at)?).ok()?;
    id.iter().all(u8::is_ascii_digit).then_some(at - before..at + 8 + signature)
}

/// The bot's id, `:`, 35 characters of which the first two are `AA`.
fn telegram_bot_token(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let rest = bytes.get(at + 1..)?;
    if !rest.starts_with(b"AA") {
        return None;
    }
    let inner = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let after = rest.iter().take(36).take_while(inner).count();
    let before = bytes.get(at.saturating_sub(11)..at)?;
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    (after == 35 && (8..=10).contains(&digits)).then_some(at - digits..at + 36)
}

/// 32 hexadecimal digits, `-us`, the data centre's number.
fn mailchimp_key(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let digits = bytes.get(at..)?.strip_prefix(b"-us")?.iter().take(3);
    let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
    let start = at.checked_sub(32)?;
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let whole = bytes.get(start..at)?.iter().all(hex)
        && !start.checked_sub(1).and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
    (whole && (1..=2).contains(&digits)).then_some(start..at + 3 + digits)
}
