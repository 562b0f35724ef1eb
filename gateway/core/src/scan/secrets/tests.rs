//! What must not be found, and what every rule of the corpus must.

use crate::scan::{Class, Detectors, Guard};

/// The secrets that are found in a text, rule and value.
fn found(text: &str) -> Vec<(String, String)> {
    let secrets = |class| class == Class::Secrets;
    let hits = Detectors::built_in().find(Guard::ToolCall, &secrets, text);
    hits.into_iter().map(|hit| (hit.rule.to_string(), text[hit.span].to_owned())).collect()
}

#[track_caller]
fn finds(rule: &str, text: &str, value: &str) {
    assert_eq!(found(text), [(rule.to_owned(), value.to_owned())], "{text}");
}

#[track_caller]
fn quiet(texts: &[&str]) {
    for text in texts {
        assert_eq!(found(text), [], "{text}");
    }
}

/// So that no scanner of a repository takes it for real.
fn join(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn tokens_with_a_checksum_are_asked_for_it() {
    let valid = join(&["ghp", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"]);
    finds("github_token", &format!("TOKEN={valid}"), &valid);
    quiet(&[&valid.replace("0mLq17", "0mLq18"), &valid.replace("zQWB", "zQWC")]);
    let grafana = join(&["glsa", "_yscW25imSKJIuav8zF37RZmnbiDvB05G", "_fcaaf58a"]);
    finds("grafana_token", &grafana, &grafana);
    quiet(&[&grafana.replace("fcaaf58a", "fcaaf58b")]);
    let age =
        join(&["AGE-SECRET-KEY-1", "GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"]);
    finds("age_secret_key", &age, &age);
    quiet(&[&age.replace("Q4EGAEX", "Q4EGAEZ")]);
}

#[test]
fn a_provider_gives_the_name_where_an_assignment_finds_the_same() {
    let key = join(&["sk_live", "_51H8Xj2eZvKYlo2CabcdEFG9"]);
    finds("stripe_key", &format!("api_key = \"{key}\""), &key);
}

#[test]
fn placeholders_and_references_are_no_secrets() {
    quiet(&[
        "password=changeme",
        "password: ${DB_PASSWORD}",
        "password: \"<your password>\"",
        "api_key = \"xxxxxxxxxxxxxxxxxxxxxxxx\"",
        "token: ${{ secrets.GITHUB_TOKEN }}",
        "secret = os.environ['APP_SECRET_1']",
        "client_secret: \"YOUR_CLIENT_SECRET_2\"",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-your-key-here",
        "passwd: ********",
        "token=process.env.TOKEN2",
        "postgres://user:password@localhost/app",
        "postgres://app:${PGPASSWORD}@db/app",
        "https://user:<token>@host/x",
        "Authorization: Bearer <token>",
        "Authorization: Bearer YOUR_API_KEY_12",
        "the bearer token authentication scheme",
    ]);
}

#[test]
fn names_that_only_sound_secret_are_not() {
    quiet(&[
        "next_page_token: \"Q2F1c2FsIGxpbmsgMTIz8\"",
        "csrfToken = \"8f14e45fceea167a5a36dedd4bea2543\"",
        "max_tokens: 4096",
        "token_type=bearer1",
        "secretName: my-app-tls-v2",
        "password_hash = hash(password, salt2)",
        "tokenizer: gpt2-medium-v1.5",
        "if password == other.password2 {",
        "public_key = \"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\"",
        "token = next_token(stream, 12)",
        "let secret: RsaPrivateKey2 = load()",
        "the password is: hunter",
    ]);
}

#[test]
fn assignments_in_many_spellings() {
    let value = join(&["s3cr3tV4lue", "Xq9"]);
    for text in [
        "DB_PASSWORD=@",
        "db.password = @",
        "\"password\": \"@\"",
        "\\\"password\\\": \\\"@\\\"",
        "password => '@',",
        "<dbPassword>@</dbPassword>",
        "PWD=@;Encrypt=True",
        "password: `@`",
        "PASSWORD_PROD=@",
        "$env:API_TOKEN = \"@\"",
        "client_secret := \"@\"",
        "config[\"secret\"] = \"@\"",
        "?user=a&password=@&ssl=1",
    ] {
        finds("assigned_secret", &text.replace('@', &value), &value);
    }
}

#[test]
fn private_keys_whole_cut_off_and_escaped() {
    let lines = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n".repeat(3);
    let begin = join(&["-----BEGIN ", "RSA PRIVATE KEY-----"]);
    let whole = format!("{begin}\n{lines}-----END RSA PRIVATE KEY-----");
    finds("private_key", &format!("a {whole} b"), &whole);
    let escaped = whole.replace('\n', "\\n");
    finds("private_key", &format!("KEY=\"{escaped}\""), &escaped);
    let cut = format!("{begin}\n{lines}");
    finds("private_key", &format!("{cut}-- truncated"), &cut);
    let headed =
        whole.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\n", 1);
    finds("private_key", &headed, &headed);
    quiet(&[
        "a file that begins with -----BEGIN RSA PRIVATE KEY----- is a private key",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    ]);
}

#[test]
fn passwords_in_urls_and_headers() {
    let password = join(&["p@ss", "w0rd9"]);
    finds("url_password", &format!("postgres://app:{password}@db:5432/x"), &password);
    let basic = join(&["YWRtaW46", "aHVudGVyMg=="]);
    finds("authorization_header", &format!("Authorization: Basic {basic}"), &basic);
    quiet(&[
        "http://localhost:8080/users/@me",
        "git clone ssh://git@host:2222/a/b.git",
        "see https://example.com:443/a@b",
        "scheme://host:port/path",
        "docker run -u 1000:1000 image",
        "chown -u www:www2 x",
    ]);
}

#[test]
fn web_tokens_must_name_their_algorithm() {
    let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    let token = join(&[
        header,
        ".eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ]);
    finds("jwt", &format!("x={token}&y"), &token);
    // `{"typ":"JWT"}` and no algorithm.
    quiet(&[&token.replace(header, "eyJ0eXAiOiJKV1QifQ"), header]);
}
