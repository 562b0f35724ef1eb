//! Lines in which there is nothing to be found: code, logs, prose, and the numbers and hashes that look like something.

use super::random::Random;

/// Placeholders: `{20x}` as in templates of positives; `%u` a UUID, `%v` a version, `%t` a time, `%n` a number, `%w` a
/// word, `%f` a path, `%h` a SHA-256, `%g` a commit, `%p` an address in a private network.
const LINES: &[&str] = &[
    // Code.
    "let total = items.iter().map(|item| item.price * %n).sum::<u64>();",
    "const token = await getToken(request.headers);",
    "password = os.environ[\"DB_PASSWORD\"]",
    "    password: ${{ secrets.DEPLOY_PASSWORD }}",
    "api_key = settings.API_KEY or raise_missing(\"api_key\")",
    "API_KEY=<your-api-key>",
    "SECRET_KEY=changeme",
    "export GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "OPENAI_API_KEY=sk-your-key-here",
    "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
    "if (user.password !== confirmPassword) throw new Error('Passwords do not match');",
    "token_type: \"bearer\", expires_in: %n, scope: \"read write\"",
    "fn authenticate(token: &str, secret: &[u8]) -> Result<Claims, Error> {",
    "  \"next_page_token\": \"{24a}\",",
    "  \"nextToken\": \"{40b}=\"",
    "  csrf_token: \"{32x}\"",
    "tokenizer = AutoTokenizer.from_pretrained(\"bert-base-uncased\")",
    "max_tokens=4096, temperature=0.7, model=\"gpt-4o-mini-2024-07-18\"",
    "secretName: %w-tls-{5l}",
    "secretKeyRef: {name: %w-credentials, key: password}",
    "password_hash = \"$2b$12$\" + salt",
    "assert_eq!(parse(\"key=value\"), Some((\"key\", \"value\")));",
    "SELECT id, name, created_at FROM orders WHERE id = %n AND status = 'open';",
    "DELETE FROM sessions WHERE expires_at < now() - interval '7 days';",
    "UPDATE users SET last_seen = now() WHERE id = '%u';",
    "CREATE TABLE IF NOT EXISTS audit (id uuid PRIMARY KEY, at timestamptz NOT NULL);",
    "import { readFile } from 'node:fs/promises';",
    "from ..models.%w import %w as base",
    "#include \"../../include/%w.h\"",
    "std::vector<std::pair<int, std::string>> pairs{{%n, \"%w\"}};",
    "let address: SocketAddr = \"127.0.0.1:8080\".parse()?;",
    "bind = \"0.0.0.0:%n\"",
    "listen [::1]:%n;",
    "for (let i = 0; i < %n; i++) { total += values[i] ** 2; }",
    "@media (max-width: %npx) { .grid { gap: 1.5rem 2.25rem; } }",
    "background: url(data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{120b}==);",
    "\"integrity\": \"sha512-{86b}==\"",
    "github.com/%w/%w v%v h1:{43b}=",
    "checksum = \"%h\"",
    "FROM docker.io/library/postgres:16.%n@sha256:%h",
    "uses: actions/checkout@%g # v4.1.1",
    "git@github.com:%w/%w.git",
    "ssh://git@git.internal:2222/%w/%w.git",
    "npm install @%w/%w@%v --save-exact",
    "pip install %w==%v",
    "rm -rf ./target/debug && cargo build",
    "rm -f build/*.o",
    "curl -fsSL https://api.internal/v2/%w?id=%u -o out.json",
    "kubectl get pods -n %w -o wide",
    "terraform plan -out=tfplan",
    "git push origin feature/%w",
    "chmod 644 %f",
    "docker run --rm -p 8080:8080 -u 1000:1000 %w:%v",
    "dd if=/dev/zero of=./disk.img bs=1M count=%n",
    "const re = /^[A-Za-z0-9_-]{43}$/;",
    "let id = Uuid::parse_str(\"%u\").unwrap();",
    "color: #{6x}; border: 1px solid #{6x};",
    "0x{16x} 0x{16x} mov rax, qword ptr [rip + 0x{4x}]",
    "\"license\": \"MIT\", \"version\": \"%v\", \"private\": true",
    "CFLAGS += -O2 -Wall -march=x86-64-v3 -I%f",
    "key: value # the key of the map, not a secret",
    "// TODO(%w): the token bucket refills %n tokens per second",
    "private static final long serialVersionUID = {18d}L;",
    "public_key = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{43b} %w@host\"",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "MIIB{60b}",
    "{76b}",
    "https://cdn.internal/assets/%w.{8x}.js",
    "postgres://localhost:5432/app",
    "DATABASE_URL=postgres://user:password@localhost/app",
    "REDIS_URL=redis://cache:6379/0",
    "amqp://guest:guest@localhost:5672/",
    // Logs.
    "%t INFO request id=%u path=/api/v1/%w status=200 ms=%n",
    "%t WARN [pool-%n] retrying %w in 250ms (attempt 3 of 5)",
    "%t ERROR %w::handler: connection reset by peer (os error 104)",
    "%p - - [24/Nov/2026:10:%n:02 +0000] \"GET /%w HTTP/1.1\" 200 %n \"-\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.109 Safari/537.36\"",
    "Nov 24 10:00:0{1d} host sshd[%n]: Accepted publickey for deploy from %p port %n ssh2: ED25519 SHA256:{43b}",
    "trace_id={32x} span_id={16x} parent={16x}",
    "commit %g (HEAD -> main, tag: v%v)",
    "Author: build <build@ci.internal>",
    "index {7x}..{7x} 100644",
    "@@ -%n,7 +%n,9 @@ fn %w()",
    "+20240115 migrated %n rows",
    "[%n/%n] Building CXX object src/CMakeFiles/%w.dir/%w.cpp.o",
    "Downloaded %w v%v (registry)",
    "level=info ts=1732442{3d} caller=%w.go:%n msg=\"compaction done\" ulid={26u}",
    "{\"ts\":1732442{6d},\"lvl\":\"debug\",\"id\":\"%u\",\"took\":%n}",
    "kernel: [%n.{6d}] eth0: link up, 1000 Mbps, mac 52:54:00:{2x}:{2x}:{2x}",
    "GC(%n) Pause Young (Normal) 24M->%nM(512M) 3.{3d}ms",
    "snowflake id 17{16d} stored in shard %n",
    "etag: W/\"{32x}\"",
    "x-request-id: %u",
    "set-cookie: lang=en; Path=/; Max-Age=31536000",
    "memory: 10.25 GiB free of 31.{2d} GiB, swap 0",
    "load average: 0.{2d}, 0.{2d}, 1.{2d}",
    "build 10.0.19045.{4d} completed with %n warnings",
    "Installed driver version 31.0.15.{4d} for display",
    "java.lang.IllegalStateException: at com.%w.Main.run(Main.java:%n)",
    "sha256sum: %h  %w-%v.tar.gz",
    "job {8d}-{4d} queued behind build 20241124-0{3d}",
    "cache key linux-x64-node-20-%h restored",
    "probe http://%p:9090/metrics answered 200 in 0.0{3d}s",
    "metric{le=\"0.005\"} %n 1732442{6d}",
    "ssl handshake: TLSv1.3, cipher TLS_AES_256_GCM_SHA384, serial {40x}",
    // Prose.
    "The meeting moved from 10:30 to 14:00 on 24.11.2026 in room 4.12.",
    "Order {8d} was shipped on 2026-11-%n with tracking number 1Z{6u}{10d}.",
    "Invoice RE-2026-{5d} over 1.{3d},50 EUR is due within 14 days.",
    "Part number 4155-{4d}-{2d}, replaced by {3d}-{4d}-{3d} in revision C.",
    "ISBN 978-3-16-148410-0, EAN 40{11d}, DOI 10.1000/{4d}.{5d}",
    "Chapter 3.2.1 explains how a token bucket limits requests to %n per minute.",
    "Version %v fixes a bug where the password field lost focus.",
    "Please never share your password, your token or your secret with anyone.",
    "We reset the password policy: at least 12 characters, no reuse of the last five.",
    "The card arrives within 5-7 working days; the last four digits are {4d}.",
    "Call the function before 2026-{2d}-{2d}, otherwise the lease expires.",
    "RFC 7519 defines the JSON Web Token, RFC 6750 how a bearer token is sent.",
    "The server answered with a list of %n items, of which %n were archived.",
    "Serial {4u}-{4u}-{4u}-{4u}, firmware %v, manufactured in week {2d} of 2024.",
    "In 2023, 1.{3d}.{3d} people visited; in 2024 it were 1.{3d}.{3d}.",
    "Der Vertrag Nr. 2024/{6d} läuft am 31.12.2027 aus, Aktenzeichen 12 C {3d}/24.",
    "La facture n° {6d} du 03/11/2026 s'élève à 1 {3d},00 €.",
    "El pedido {7d} sale el 12/12/2026; peso total {2d},5 kg.",
    "订单号 {8d} 已于 2026年11月24日 发货,共 %n 件。",
    "会議は11月24日14時から、資料番号は {4d}-{4d} です。",
    "Заказ № {8d} отправлен 24.11.2026, вес 2,{2d} кг.",
    "Coordinates 52.{6d}, 13.{6d}; altitude 34 m; heading 270.",
    "The ratio rose from 0.{4d} to 0.{4d} (p < 0.001, n = %n).",
    "See %f for details, or run %w --help.",
    "Ticket OPS-{4d}: rotate the certificate of %w before the weekend.",
    "Room codes: A-{3d}, B-{3d}; opening hours 09:00-17:30.",
    "Batch {10d} passed, batch {12d} failed the second check.",
    "Customer reference {11d}, contract {9d}, meter reading {6d}.",
    "Article {13d} costs 12.{2d} per unit, packed by %n.",
    "Reference {16d} is the internal id of the export.",
    "Tests: %n passed, 0 failed; coverage {2d}.{2d} %",
    "Ignore case when comparing; the previous rule of the parser still applies.",
    "The system prompts the user for a file name and remembers the previous answers.",
    "Users must not be told apart by their agents; send the report to the archive.",
    "Before using the drill, read the instructions in the manual and wear glasses.",
];

const WORDS: &[&str] = &[
    "orders", "billing", "gateway", "parser", "session", "index", "worker", "catalog", "render",
    "metrics", "storage", "invoice", "search", "router", "cache", "ledger",
];

pub(crate) fn line(r: &mut Random) -> String {
    let template = r.pick(LINES);
    let mut filled = fill_counts(r, template);
    while let Some(at) = filled.find('%') {
        let Some(made) = filled[at + 1..].chars().next().and_then(|mark| named(r, mark)) else {
            filled.replace_range(at..at + 1, "\u{1}");
            continue;
        };
        filled.replace_range(at..at + 2, &made);
    }
    filled.replace('\u{1}', "%")
}

fn named(r: &mut Random, mark: char) -> Option<String> {
    Some(match mark {
        'u' => r.uuid(),
        'v' => format!("{}.{}.{}", r.below(20), r.below(40), r.below(100)),
        't' => format!(
            "2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            r.between(1, 28),
            r.below(24),
            r.below(60),
            r.below(60),
            r.below(1000)
        ),
        'n' => r.below(100_000).to_string(),
        'w' => r.pick(WORDS).to_owned(),
        'f' => format!("/usr/share/{}/{}-{}.txt", r.pick(WORDS), r.pick(WORDS), r.below(100)),
        'h' => r.of('x', 64),
        'g' => r.of('x', 40),
        'p' => format!("10.{}.{}.{}", r.below(256), r.below(256), r.between(1, 254)),
        _ => return None,
    })
}

/// Only braces that hold a count and an alphabet are filled: code has braces of its own.
fn fill_counts(r: &mut Random, template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 1..];
        let spec = inner.split('}').next().unwrap_or_default();
        let count = spec.get(..spec.len().saturating_sub(1)).unwrap_or_default();
        if !count.is_empty()
            && count.bytes().all(|b| b.is_ascii_digit())
            && spec.ends_with(|c: char| "awbxludi".contains(c))
        {
            out.push_str(&r.fill(&format!("{{{spec}}}")));
            rest = &inner[spec.len() + 1..];
        } else {
            out.push('{');
            rest = inner;
        }
    }
    out + rest
}
