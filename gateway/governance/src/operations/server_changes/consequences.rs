//! What a change of a server brings about beyond the field itself, for the person who decides.

use gateway_core::label::Label;
use gateway_core::server::{Endpoint, Server, ServerStatus, UpstreamAuth};
use gateway_store::policy::StoredPolicy;
use gateway_store::server::{RenamedPolicy, ServerPatch};
use policies::PolicySpec;

use super::super::run::Run;
use crate::perform::Refused;

/// Policies that would speak of a new server at once.
pub(super) fn of_new_slug(run: &Run<'_>, slug: &str) -> Option<String> {
    let named: Vec<&str> =
        named(run, slug).into_iter().map(|(stored, _)| stored.name.as_str()).collect();
    let everywhere = run.snapshot.sources.iter().filter(|s| s.spec.server.as_deref() == Some("*"));
    match (named.is_empty(), everywhere.count()) {
        (true, 0) => Some("no policy speaks of it yet: nobody may use it".into()),
        (true, _) => None,
        (false, _) => Some(format!("policies that name this slug apply: {}", named.join(", "))),
    }
}

/// The policies that follow the server to another slug.
pub(super) fn renamed(
    run: &Run<'_>,
    server: &Server,
    patch: &ServerPatch,
) -> Result<Vec<RenamedPolicy>, Refused> {
    let Some(slug) = patch.slug.as_ref().filter(|slug| **slug != server.slug) else {
        return Ok(vec![]);
    };
    if run.snapshot.server(slug.as_str()).is_some() {
        return Err(super::taken());
    }
    let quoted = format!("\"{}\"", server.slug);
    let cedar = run
        .snapshot
        .sources
        .iter()
        .find(|source| source.spec.cedar.as_ref().is_some_and(|cedar| cedar.contains(&quoted)));
    if let Some(source) = cedar {
        let detail = format!("slug: the Cedar text of policy \"{}\" names it", source.spec.name);
        return Err(Refused::params(format!("{detail}; change that policy first")));
    }
    let texts = named(run, server.slug.as_str()).into_iter().map(|(stored, spec)| {
        let spec = PolicySpec { server: Some(slug.to_string()), ..spec };
        let after = serde_json::to_string(&spec).map_err(|error| {
            Refused::params(format!("slug: policy \"{}\": {error}", stored.name))
        })?;
        Ok(RenamedPolicy { id: stored.id, before: stored.spec_json.clone(), after })
    });
    texts.collect()
}

fn named<'a>(run: &'a Run<'_>, slug: &str) -> Vec<(&'a StoredPolicy, PolicySpec)> {
    let stored = run.snapshot.stored_policies().iter();
    let read = stored.filter_map(|stored| {
        let spec: PolicySpec = serde_json::from_str(&stored.spec_json).ok()?;
        Some((stored, spec))
    });
    read.filter(|(_, spec)| spec.server.as_deref() == Some(slug)).collect()
}

/// What else happens.
pub(super) fn of(
    run: &Run<'_>,
    server: &Server,
    patch: &ServerPatch,
    policies: &[RenamedPolicy],
) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(slug) = patch.slug.as_ref().filter(|slug| **slug != server.slug) {
        said.push(format!(
            "clients that use the address with \"{}\" lose it; the one with the id stays",
            server.slug
        ));
        if !policies.is_empty() {
            said.push(format!("{} policies follow to the new slug", policies.len()));
        }
        said.extend(of_new_slug(run, slug.as_str()).filter(|said| said.starts_with("policies")));
        said.push("a desired state that still has the old slug would make a second server".into());
    }
    let moved =
        patch.url.as_ref().is_some_and(|url| Endpoint::Http(url.clone()) != server.endpoint);
    if moved {
        let tools = server.tools.len();
        said.push(format!("its {tools} tools are forgotten and read anew at the new address"));
    }
    if matches!(server.auth, UpstreamAuth::OauthUser(_)) && (moved || other_issuer(server, patch)) {
        said.push("people who connected an account connect again".into());
    }
    said.extend(relabelled(server, patch));
    if patch.sensitive == Some(false) && server.sensitive {
        said.push("arguments and results of past calls become readable in the audit trail".into());
    }
    if patch.status.is_some_and(|status| {
        status != ServerStatus::Active && server.status == ServerStatus::Active
    }) {
        said.push("nobody can use it any more".into());
    }
    said
}

/// What the flow rule will do otherwise.
fn relabelled(server: &Server, patch: &ServerPatch) -> Vec<String> {
    let Some(after) = &patch.labels else { return vec![] };
    let given = |label| after.contains(&label) && !server.labels.contains(&label);
    let taken = |label| server.labels.contains(&label) && !after.contains(&label);
    let mut said = Vec::new();
    if given(Label::Outward) {
        said.push("whoever has read untrusted content and private data is asked before a call");
    }
    if taken(Label::Outward) {
        said.push("calls carry data out of it without anybody being asked");
    }
    if taken(Label::Untrusted) || taken(Label::Private) {
        said.push("what was read from it counts no more, what was read before included");
    }
    said.into_iter().map(str::to_owned).collect()
}

/// Connected accounts belong to one issuer and one client there.
fn other_issuer(server: &Server, patch: &ServerPatch) -> bool {
    match (&server.auth, &patch.auth) {
        (_, None) => false,
        (UpstreamAuth::OauthUser(before), Some(UpstreamAuth::OauthUser(after))) => {
            before.issuer != after.issuer || before.client_id != after.client_id
        }
        (_, Some(_)) => true,
    }
}
