//! The demo organisation, in the same desired-state file that an operator writes.

use super::upstreams::Upstreams;

/// The people: name, e-mail, what they are.
pub(super) const PEOPLE: [(&str, &str, &str); 3] = [
    ("Alice", "alice@example.com", "admin"),
    ("Bob", "bob@example.com", "engineer"),
    ("Carol", "carol@example.com", "contractor"),
];

/// The program with an account of its own.
pub(super) const AGENT: &str = "reporter";

/// The servers, and what a newcomer may try on each.
pub(super) const SERVERS: [(&str, &str); 4] = [
    ("tickets", "as Bob, \"list the open tickets\"; he has no tool to close one, Alice has"),
    (
        "files",
        "as Bob, \"read engineering/release.md\", then \"read hr/salaries.csv\": denied, with the reason; \"read \
         engineering/oncall.md\": what is secret in it is masked",
    ),
    ("payments", "as Bob, \"give back 20 EUR of P-2001\": he is asked first"),
    ("runlayer", "as Alice, \"list the latest policy denials\": the gateway answers about itself"),
];

/// The desired state with the addresses of the upstreams that run now.
pub(super) fn desired_state(upstreams: &Upstreams) -> String {
    STATE
        .replace("TICKETS", &upstreams.tickets.to_string())
        .replace("FILES", &upstreams.files.to_string())
        .replace("PAYMENTS", &upstreams.payments.to_string())
}

const STATE: &str = r#"
[[groups]]
name = "engineering"

[[groups]]
name = "contractors"

[[users]]
email = "alice@example.com"
name = "Alice"
roles = ["super_admin"]

[[users]]
email = "bob@example.com"
name = "Bob"
roles = ["developer"]
groups = ["engineering"]

[[users]]
email = "carol@example.com"
name = "Carol"
groups = ["contractors"]

[[servers]]
slug = "tickets"
title = "Tickets"
url = "http://TICKETS/mcp"

[[servers]]
slug = "files"
title = "Files"
url = "http://FILES/mcp"
scanners = { modes = { tool_intent = { secrets = "block" }, tool_call = { secrets = "mask", personal_data = "mask" } } }

[[servers]]
slug = "payments"
title = "Payments"
url = "http://PAYMENTS/mcp"

[[policies]]
name = "admins use everything"
effect = "allow"
principals = ["role:super_admin"]
server = "*"

[[policies]]
name = "engineers work with tickets"
effect = "allow"
principals = ["group:engineering"]
server = "tickets"
tools = ["list_*", "get_ticket", "create_ticket"]

[[policies]]
name = "the reporter lists tickets"
effect = "allow"
principals = ["agent:reporter"]
server = "tickets"
tools = ["list_tickets"]

[[policies]]
name = "engineers read files"
effect = "allow"
principals = ["group:engineering"]
server = "files"
tools = ["search_files", "read_file"]

[[policies]]
name = "engineers see documents"
effect = "allow"
principals = ["group:engineering"]
server = "files"
resources = ["docs://*"]

[[policies]]
name = "personnel files stay closed"
effect = "deny"
principals = ["everyone"]
server = "files"
tools = ["read_file"]
when = [{ arg = "path", op = "prefix", value = "hr/" }]
message = "Personnel files are not for AI clients; ask People Operations"

[[policies]]
name = "personnel documents stay closed"
effect = "deny"
principals = ["everyone"]
server = "files"
resources = ["docs://hr/*"]

[[policies]]
name = "engineers look after payments"
effect = "allow"
principals = ["group:engineering"]
server = "payments"

[[policies]]
name = "money moves only with a person"
effect = "confirm"
principals = ["everyone"]
server = "payments"
when = [{ annotation = "destructiveHint", is = true }]
message = "This gives money back to a customer. Go ahead?"

[[policies]]
name = "contractors read tickets in small portions"
effect = "allow"
principals = ["group:contractors"]
server = "tickets"
tools = ["list_tickets"]
when = [{ arg = "limit", op = "le", value = 10 }]
"#;
