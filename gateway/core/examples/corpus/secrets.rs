//! Synthetic secrets of every kind that is looked for, made from what their issuers publish about the format: none ever
//! opened anything. Templates, so that no scanner of a repository takes them for real.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::random::Random;
use super::{Kind, Sample};

/// Name of the rule that must find it, and templates.
const TEMPLATES: &[(&str, &[&str])] = &[
    ("github_fine_grained_token", &["github_pat_{22a}_{59a}"]),
    (
        "gitlab_token",
        &[
            "glpat-{20w}",
            "gldt-{20w}",
            "glrt-{20w}",
            "glcbt-{2x}_{20w}",
            "glptt-{40x}",
            "glsoat-{20w}",
            "glpat-{27w}.{2x}.{7l}",
            "glft-{20w}",
            "gloas-{64w}",
            "glimt-{25w}",
            "glagent-{50w}",
        ],
    ),
    ("gitlab_runner_registration", &["GR1348941{20w}"]),
    ("bitbucket_app_password", &["ATBB{32a}"]),
    ("npm_legacy_token", &["//registry.npmjs.org/:_authToken=|{8x}-{4x}-{4x}-{4x}-{12x}"]),
    ("pypi_token", &["pypi-AgEIcHlwaS5vcmc{100-160w}", "pypi-AgENdGVzdC5weXBpLm9yZw{100-160w}"]),
    ("rubygems_token", &["rubygems_{48x}"]),
    ("crates_io_token", &["cio{32a}"]),
    ("nuget_key", &["oy2{43l}"]),
    ("clojars_token", &["CLOJARS_{60l}"]),
    ("docker_hub_token", &["dckr_pat_{27w}", "dckr_oat_{32w}"]),
    ("artifactory_key", &["AKCp{69a}"]),
    ("artifactory_reference_token", &["cmVmdGtu{56a}"]),
    ("circleci_token", &["CCIPAT_{22a}_{40x}", "CCIPRJ_{22a}_{40x}"]),
    ("buildkite_token", &["bkua_{40x}"]),
    ("sonar_token", &["sqp_{40x}", "squ_{40x}", "sqa_{40x}"]),
    ("sourcegraph_token", &["sgp_{16x}_{40x}", "sgp_local_{40x}", "sgp_{40x}"]),
    ("postman_key", &["PMAK-{24x}-{34x}"]),
    ("figma_token", &["figd_{40w}"]),
    ("linear_key", &["lin_api_{40a}", "lin_oauth_{64x}"]),
    ("notion_token", &["ntn_{11d}{35a}"]),
    ("notion_secret", &["secret_{43a}"]),
    ("atlassian_token", &["ATATT3xFfGF0{180w}={8u}", "ATCTT3xFfGN0{170w}={8u}"]),
    ("airtable_token", &["pat{14a}.{64x}"]),
    ("contentful_token", &["CFPAT-{43w}"]),
    ("readme_key", &["rdme_{70l}"]),
    ("typeform_token", &["tfp_{59a}"]),
    ("prefect_key", &["pnu_{36a}"]),
    ("aws_access_key_id", &["AKIA{16i}", "ASIA{16i}"]),
    (
        "aws_secret_access_key",
        &[
            "aws_secret_access_key = |{40b}",
            "\"SecretAccessKey\": \"|{40b}|\"",
            "AWS_SECRET_ACCESS_KEY=|{40b}",
            "secretAccessKey: '|{40b}|'",
            "aws_secret_access_key: |{40b}",
        ],
    ),
    ("aws_bedrock_key", &["ABSKQmVkcm9ja0FQSUtleS{110b}="]),
    ("google_api_key", &["AIza{35w}"]),
    ("google_oauth_client_secret", &["GOCSPX-{28w}"]),
    ("google_oauth_token", &["ya29.a0{100-160w}"]),
    ("google_refresh_token", &["1//0{2l}{60-90w}"]),
    (
        "google_service_account",
        &["\"private_key_id\": \"|{40x}|\"", "\\\"private_key_id\\\": \\\"|{40x}|\\\""],
    ),
    (
        "azure_storage_key",
        &[
            "DefaultEndpointsProtocol=https;AccountName={10L};AccountKey=|{86b}==|;EndpointSuffix=core.windows.net",
        ],
    ),
    (
        "azure_shared_access_key",
        &[
            "Endpoint=sb://{8L}.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=|{43b}=",
        ],
    ),
    (
        "azure_sas",
        &[
            "https://{8L}.blob.core.windows.net/c/b.txt?sv=2024-11-04&se=2030-01-01&sr=b&sp=r&sig=|{43a}%3D",
        ],
    ),
    ("azure_client_secret", &["{3a}8Q~{34a}", "{3a}7Q~{31a}"]),
    ("cloudflare_token", &["cfut_{40a}{8x}", "cfat_{40a}{8x}", "cfk_{40a}{8x}"]),
    ("cloudflare_origin_ca_key", &["v1.0-{24x}-{146x}"]),
    ("digitalocean_token", &["dop_v1_{64x}", "doo_v1_{64x}", "dor_v1_{64x}"]),
    ("alibaba_access_key_id", &["LTAI{20a}"]),
    ("tencent_secret_id", &["AKID{32a}"]),
    ("yandex_key", &["AQVN{36w}"]),
    ("vercel_token", &["vcp_{56a}", "vck_{56a}"]),
    ("netlify_token", &["nfp_{36a}"]),
    ("heroku_key", &["HRKU-AA{58w}"]),
    ("fly_token", &["FlyV1 |fm2_{120b}=", "fo1_{43w}"]),
    ("supabase_token", &["sbp_{40x}", "sb_secret_{31w}"]),
    ("planetscale_secret", &["pscale_tkn_{43w}", "pscale_pw_{43w}", "pscale_oauth_{43w}"]),
    ("neon_key", &["napi_{64l}"]),
    ("databricks_token", &["dapi{32x}", "dapi{32x}-2"]),
    ("doppler_token", &["dp.pt.{43a}", "dp.st.prd.{40a}", "dp.ct.{40a}", "dp.sa.{43a}"]),
    ("vault_token", &["hvs.CAESI{90w}", "hvb.AAAAAQ{140w}", "hvs.{24a}"]),
    ("terraform_cloud_token", &["{14a}.atlasv1.{67a}"]),
    ("pulumi_token", &["pul-{40x}"]),
    ("tailscale_key", &["tskey-auth-{17a}-{32a}", "tskey-api-{17a}-{32a}"]),
    ("infracost_key", &["ico-{32a}"]),
    ("dropbox_token", &["sl.u.{140w}", "sl.B{135w}"]),
    ("onepassword_service_token", &["ops_eyJ{300b}"]),
    (
        "onepassword_secret_key",
        &["A3-{6u}-{6u}-{5u}-{5u}-{5u}-{5u}", "A3-{6u}-{11u}-{5u}-{5u}-{5u}"],
    ),
    (
        "openai_key",
        &[
            "sk-proj-{74w}T3BlbkFJ{74w}",
            "sk-svcacct-{58w}T3BlbkFJ{58w}",
            "sk-admin-{58w}T3BlbkFJ{58w}",
        ],
    ),
    ("openai_legacy_key", &["sk-{20a}T3BlbkFJ{20a}"]),
    ("anthropic_key", &["sk-ant-api03-{93w}AA", "sk-ant-admin01-{93w}AA", "sk-ant-oat01-{93w}AA"]),
    ("openrouter_key", &["sk-or-v1-{64x}"]),
    ("sk_key", &["sk-{32x}", "sk-{48a}"]),
    ("huggingface_token", &["hf_{34p}", "api_org_{34p}"]),
    ("replicate_token", &["r8_{37a}"]),
    ("groq_key", &["gsk_{52a}"]),
    ("xai_key", &["xai-{80a}"]),
    ("perplexity_key", &["pplx-{48a}"]),
    ("nvidia_key", &["nvapi-{64w}"]),
    ("cerebras_key", &["csk-{48l}"]),
    ("elevenlabs_key", &["sk_{48x}"]),
    ("langsmith_key", &["lsv2_pt_{32x}_{10x}", "lsv2_sk_{32x}_{10x}"]),
    ("pinecone_key", &["pcsk_{6a}_{63a}"]),
    ("tavily_key", &["tvly-{32a}", "tvly-dev-{32a}"]),
    ("firecrawl_key", &["fc-{32x}"]),
    (
        "slack_token",
        &[
            "xoxb-{12d}-{12d}-{24a}",
            "xoxp-{12d}-{12d}-{12d}-{32x}",
            "xoxe.xoxp-1-{140a}",
            "xoxe-1-{140a}",
            "xoxc-{12d}-{12d}-{13d}-{64x}",
        ],
    ),
    ("slack_app_token", &["xapp-1-A{10u}-{13d}-{64x}"]),
    ("slack_webhook", &["https://hooks.slack.com/services/|T{9u}/B{9u}/{24a}"]),
    (
        "discord_webhook",
        &[
            "https://discord.com/api/webhooks/|{18d}/{68w}",
            "https://discordapp.com/api/webhooks/|{19d}/{68w}",
        ],
    ),
    ("telegram_bot_token", &["{10d}:AA{33w}", "{9d}:AA{33w}"]),
    (
        "teams_webhook",
        &[
            "https://{8L}.webhook.office.com/webhookb2/|{8x}-{4x}-{4x}-{4x}-{12x}@{8x}-{4x}-{4x}-{4x}-{12x}/IncomingWebhook/{32x}/{8x}-{4x}-{4x}-{4x}-{12x}",
        ],
    ),
    ("twilio_api_key", &["SK{32x}"]),
    ("sendgrid_key", &["SG.{22w}.{43w}"]),
    ("mailgun_key", &["key-{32x}"]),
    ("mailchimp_key", &["{32x}-us12", "{32x}-us7"]),
    ("brevo_key", &["xkeysib-{64x}-{16a}", "xsmtpsib-{64x}-{16a}"]),
    ("hubspot_token", &["pat-na1-{8x}-{4x}-{4x}-{4x}-{12x}", "pat-eu1-{8x}-{4x}-{4x}-{4x}-{12x}"]),
    ("facebook_access_token", &["EAA{150a}"]),
    (
        "stripe_key",
        &["sk_live_{24a}", "sk_test_{99a}", "rk_live_{24a}", "rk_test_{99a}", "sk_live_51{97a}"],
    ),
    ("stripe_webhook_secret", &["whsec_{32a}"]),
    ("square_secret", &["sq0csp-{43w}", "sq0atp-{22w}"]),
    ("square_access_token", &["EAAA{60w}"]),
    ("shopify_token", &["shpat_{32x}", "shpca_{32x}", "shppa_{32x}", "shpss_{32x}"]),
    (
        "braintree_token",
        &["access_token$production${16l}${32x}", "access_token$sandbox${16l}${32x}"],
    ),
    (
        "plaid_token",
        &[
            "access-production-{8x}-{4x}-{4x}-{4x}-{12x}",
            "access-sandbox-{8x}-{4x}-{4x}-{4x}-{12x}",
        ],
    ),
    ("mollie_key", &["live_{30a}"]),
    ("gocardless_token", &["live_{40w}"]),
    ("flutterwave_key", &["FLWSECK-{32x}-X", "FLWSECK_TEST-{32x}-X"]),
    ("duffel_token", &["duffel_live_{43w}", "duffel_test_{43w}"]),
    ("easypost_key", &["EZAK{54a}", "EZTK{54a}"]),
    ("shippo_token", &["shippo_live_{40x}", "shippo_test_{40x}"]),
    ("grafana_cloud_token", &["glc_eyJ{120a}"]),
    ("grafana_legacy_key", &["eyJrIjoi{80a}"]),
    ("new_relic_key", &["NRAK-{27u}"]),
    ("new_relic_insert_key", &["NRII-{32w}"]),
    ("sentry_org_token", &["sntrys_eyJ{120b}_{43b}"]),
    ("sentry_user_token", &["sntryu_{64x}"]),
    ("dynatrace_token", &["dt0c01.{24u}.{64u}", "dt0s16.{24u}.{64u}"]),
    ("posthog_key", &["phx_{43a}"]),
    ("gateway_key", &["rl_{43w}"]),
    (
        "putty_private_key",
        &[
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: laptop\nPublic-Lines: 1\n{64b}\nPrivate-Lines: 2\n|{64b}\n{43b}=\n|Private-MAC: {64x}",
        ],
    ),
    ("jwk_private_key", &["{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{43w}\",\"d\":\"|{43w}|\"}"]),
    (
        "url_password",
        &[
            "postgres://app:|{14a}|@db.internal:5432/app",
            "postgresql+asyncpg://svc:|{20a}|@10.0.0.5/orders",
            "mysql://root:|{12a}|@mysql:3306/shop",
            "mongodb+srv://admin:|{16a}|@cluster0.ab1cd.mongodb.net/test",
            "redis://:|{24a}|@cache:6379/0",
            "amqps://user:|{18a}|@mq.internal/vhost",
            "mssql://sa:|{10a}!9|@sql:1433/main",
            "https://deploy:|{20a}|@git.internal/team/app.git",
            "ftp://backup:|{12a}|@files.internal/dump",
            "ldap://cn=svc:|{12a}|@ldap:389",
        ],
    ),
    ("oracle_password", &["jdbc:oracle:thin:scott/|{10a}9|@//db:1521/orcl"]),
    (
        "authorization_header",
        &[
            "Authorization: Bearer |{40a}",
            "\"Authorization\": \"Basic |{36a}|\"",
            "curl -H 'Authorization: Token |{40x}|' https://api.internal",
            "authorization: token |{40x}",
        ],
    ),
    ("bearer_token", &["-H 'bearer |{40a}|'", "the header Bearer |{32a}", "'Bearer |{48a}|'"]),
    (
        "command_line_password",
        &[
            "curl -u admin:|{6L}{3d}{3U}| https://jenkins.internal/job",
            "http --user ci:|{8a}4!| get api.internal",
        ],
    ),
    (
        "assigned_secret",
        &[
            "DB_PASSWORD=|{6L}{2d}{4U}",
            "password: \"|{8a}!7|\"",
            "\"clientSecret\": \"|{10a}5{20a}|\"",
            "const apiKey = '|{12a}7{12a}|';",
            "api_token => \"|{30x}3a|\"",
            "spring.datasource.password=|{4L}{3d}{5U}",
            "SECRET_KEY_BASE=|{64x}",
            "<password>|{9a}1z|</password>",
            "Server=tcp:sql,1433;Database=d;User Id=sa;Password=|{9a}1!|;Encrypt=True",
            "jdbc:postgresql://db/app?user=app&password=|{10a}2x|&ssl=true",
            "host=db user=app password=|{10a}2x| sslmode=require",
            "encryption_key: |{32x}",
            "  access_token: \"|{20a}9{19a}|\"",
            "export TWILIO_AUTH_TOKEN=|{31x}7",
            "$config['secret'] = '|{24a}5|';",
            "PGPASSWORD=|{12a}3| psql",
        ],
    ),
];

pub(crate) fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = TEMPLATES
        .iter()
        .map(|(rule, templates)| {
            Kind::new(rule, move |r| {
                let template = r.pick(templates);
                marked(&template_filled(r, template))
            })
        })
        .collect();
    kinds.push(Kind::new("github_token", |r| {
        let prefix = r.pick(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]);
        Sample::bare(with_crc62(r, prefix))
    }));
    kinds.push(Kind::new("npm_token", |r| Sample::bare(with_crc62(r, "npm_"))));
    kinds.push(Kind::new("grafana_token", |r| {
        let body = r.fill("glsa_{32a}");
        let sum = crc32(body.as_bytes()).swap_bytes();
        Sample::bare(format!("{body}_{sum:08x}"))
    }));
    kinds.push(Kind::new("discord_bot_token", |r| {
        let id = STANDARD.encode(r.fill("1{17d}"));
        Sample::bare(r.fill(&format!("{}.{{6w}}.{{38w}}", id.trim_end_matches('='))))
    }));
    kinds.push(Kind::new("age_secret_key", |r| Sample::bare(age(r))));
    kinds.push(Kind::new("jwt", |r| Sample::bare(jwt(r))));
    kinds.push(Kind::new("private_key", private_key));
    kinds
}

/// `{"kty":` is no template: braces with a quote inside stay.
fn template_filled(r: &mut Random, template: &str) -> String {
    match template.strip_prefix("{\"") {
        Some(rest) => format!("{{\"{}}}", r.fill(rest.strip_suffix('}').unwrap())),
        None => r.fill(template),
    }
}

/// What stands between two `|`, or behind one, must be found; all of it where there is none.
fn marked(text: &str) -> Sample {
    match text.split('|').collect::<Vec<_>>()[..] {
        [whole] => Sample::bare(whole.to_owned()),
        [before, it] => Sample::within(before, it, ""),
        [before, it, behind] => Sample::within(before, it, behind),
        _ => panic!("too many marks: {text}"),
    }
}

fn with_crc62(r: &mut Random, prefix: &str) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let body = r.of('a', 30);
    let mut sum = crc32(body.as_bytes());
    let mut check = vec![];
    for _ in 0..6 {
        check.insert(0, DIGITS[(sum % 62) as usize] as char);
        sum /= 62;
    }
    format!("{prefix}{body}{}", String::from_iter(check))
}

/// Bit by bit, to be another hand's than the rules'.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (0u32.wrapping_sub(sum & 1)));
        }
        sum
    })
}

fn age(r: &mut Random) -> String {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let prefix = b"age-secret-key-";
    let data: Vec<u8> = (0..52).map(|_| r.below(32) as u8).collect();
    let mut values: Vec<u8> =
        prefix.iter().map(|b| b >> 5).chain([0]).chain(prefix.iter().map(|b| b & 31)).collect();
    values.extend(&data);
    values.extend([0; 6]);
    let mut sum: u32 = 1;
    for value in values {
        let top = sum >> 25;
        sum = (sum & 0x1ff_ffff) << 5 ^ u32::from(value);
        for (i, generator) in
            [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].iter().enumerate()
        {
            sum ^= if top >> i & 1 == 1 { *generator } else { 0 };
        }
    }
    sum ^= 1;
    let check = (0..6).map(|i| (sum >> (5 * (5 - i)) & 31) as u8);
    let text: String =
        data.into_iter().chain(check).map(|v| ALPHABET[v as usize] as char).collect();
    format!("age-secret-key-1{text}").to_uppercase()
}

fn jwt(r: &mut Random) -> String {
    let algorithm = r.pick(&["HS256", "RS256", "ES384", "none"]);
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}"));
    let claims =
        format!("{{\"sub\":\"{}\",\"iat\":{},\"scope\":\"read\"}}", r.uuid(), r.fill("17{8d}"));
    let signature = if algorithm == "none" { String::new() } else { r.of('w', 43) };
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims))
}

/// Whole, cut off, or with its lines escaped once more.
fn private_key(r: &mut Random) -> Sample {
    let name = r.pick(&["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED ", "DSA "]);
    let count = r.between(3, 26);
    let lines: Vec<String> = (0..count).map(|_| r.of('b', 64)).collect();
    let end = match r.below(4) {
        0 => "\n".to_owned(),
        _ => format!("\n-----END {name}PRIVATE KEY-----"),
    };
    let whole = format!("-----BEGIN {name}PRIVATE KEY-----\n{}{end}", lines.join("\n"));
    match r.below(3) {
        0 => Sample::within("private_key: \"", &whole.replace('\n', "\\n"), "\""),
        1 => Sample::within("", &whole, "\n-----\n"),
        _ => Sample::within("key = '''", &whole, "'''"),
    }
}
