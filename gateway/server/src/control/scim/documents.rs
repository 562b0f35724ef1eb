//! What provisioning systems read about this one (RFC 7643, sections 5 to 7): what it really does, no more.

use serde_json::{Value, json};

use super::routes::Document;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// The document, or the one of that id in it; `None` without such a one.
pub(super) fn of(document: Document, base: &str, id: Option<&str>) -> Option<Value> {
    let all = match document {
        Document::ServiceProviderConfig => return Some(config(base)),
        Document::ResourceTypes => resource_types(base),
        Document::Schemas => schemas(base),
    };
    match id {
        Some(id) => all.into_iter().find(|one| one["id"] == id),
        None => Some(json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": all.len(), "startIndex": 1, "itemsPerPage": all.len(),
            "Resources": all,
        })),
    }
}

fn config(base: &str) -> Value {
    let no = json!({"supported": false});
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": 200},
        "changePassword": no, "sort": no, "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer token", "primary": true,
            "description": "The token in the gateway's configuration, scim.token.",
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/scim/v2/ServiceProviderConfig"),
        },
    })
}

fn resource_types(base: &str) -> Vec<Value> {
    let one = |name: &str, endpoint: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": endpoint, "schema": schema,
            "meta": {
                "resourceType": "ResourceType",
                "location": format!("{base}/scim/v2/ResourceTypes/{name}"),
            },
        })
    };
    vec![one("User", "/Users", USER), one("Group", "/Groups", GROUP)]
}

fn schemas(base: &str) -> Vec<Value> {
    let one = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id, "name": name, "attributes": attributes,
            "meta": {
                "resourceType": "Schema",
                "location": format!("{base}/scim/v2/Schemas/{id}"),
            },
        })
    };
    let user = vec![
        attribute("userName", "string", (true, "server"), "The e-mail address."),
        attribute("displayName", "string", (false, "none"), "Shown to people."),
        attribute("active", "boolean", (false, "none"), "False: no access at all, at once."),
        attribute("externalId", "string", (false, "server"), "The provisioning system's own id."),
    ];
    let mut members =
        attribute("members", "complex", (false, "none"), "People; groups are not nested.");
    members["multiValued"] = true.into();
    members["subAttributes"] =
        json!([attribute("value", "string", (true, "none"), "The id of a user.")]);
    let group = vec![
        attribute("displayName", "string", (true, "server"), "The name that policies use."),
        attribute("externalId", "string", (false, "server"), "The provisioning system's own id."),
        members,
    ];
    vec![one(USER, "User", user), one(GROUP, "Group", group)]
}

fn attribute(
    name: &str,
    kind: &str,
    (required, uniqueness): (bool, &str),
    description: &str,
) -> Value {
    json!({
        "name": name, "type": kind, "multiValued": false, "description": description,
        "required": required, "caseExact": false, "mutability": "readWrite", "returned": "default",
        "uniqueness": uniqueness,
    })
}
