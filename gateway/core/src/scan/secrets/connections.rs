//! Passwords on the way: in URLs, headers and on command lines.

use super::{Rule, checked, plausible};

pub(super) const RULES: &[Rule] = &[
    // postgres, mysql, mongodb, redis, amqp, https, ssh, ...: whatever has a user and a password before its host.
    checked(
        "url_password",
        &["://"],
        r#"://[^\s:/@"'<>`\\]*:(?P<it>[^\s/"'<>`\\]{2,})@[A-Za-z0-9\[]"#,
        plausible::password,
    ),
    // jdbc:oracle:thin:user/password@host
    checked(
        "oracle_password",
        &["jdbc:oracle:"],
        r#"jdbc:oracle:(?:thin|oci8?):[A-Za-z0-9_$#]+/(?P<it>[^\s/@"'<>`\\]{2,})@"#,
        plausible::password,
    ),
    checked(
        "authorization_header",
        &["authorization"],
        r#"(?i-u:(?:proxy-)?authorization\\?["']?[ \t]{0,3}[:=,][ \t]{0,3}\\?["']?(?:bearer|basic|token|apikey|api-key|ssws|splunk|bot|genie-?key)(?:[ \t]|%20){1,3})(?P<it>[A-Za-z0-9._~+/|=-]{8,})"#,
        credential,
    ),
    checked(
        "bearer_token",
        &["bearer "],
        "(?i-u:bearer) {1,3}(?P<it>[A-Za-z0-9._~+/|=-]{20,})",
        credential,
    ),
    checked(
        "command_line_password",
        &[" -u ", " --user "],
        r#" (?:-u|--user) {1,3}["']?[A-Za-z0-9._@%+-]{1,64}:(?P<it>[^\s"':/]{6,})"#,
        command_line,
    ),
];

fn credential(found: &str) -> bool {
    plausible::token(found) && plausible::random(found.trim_end_matches('='))
}

/// Not the numbers or names of a user and a group.
fn command_line(found: &str) -> bool {
    plausible::chosen(found) && found.bytes().any(|byte| byte.is_ascii_digit())
}
