//! Every operation of the control plane, once; one file a noun.
//!
//! [`OPERATIONS`] is the table that faces and their coverage tests are made from. An operation reads and
//! answers, or plans a [`Change`] that [`crate::perform`] makes once it is authorised and recorded.
//! Adding one: its arguments and its function in the noun's file, a variant and a row here, a row in
//! `policies/default/platform.cedar`.

pub mod access;
pub mod access_requests;
pub mod agent_accounts;
pub mod analytics;
pub mod api_keys;
pub mod audit;
pub mod browser_sessions;
pub mod catalog_servers;
pub mod confirmations;
pub mod connections;
pub mod delegations;
mod duty;
pub mod groups;
mod install;
pub mod limits;
pub mod listings;
pub mod oauth_sessions;
pub mod policies;
pub mod roles;
pub(crate) mod run;
pub mod scanners;
mod sensitive;
pub mod server_changes;
pub mod servers;
pub mod sign_in;
pub(crate) mod table;
pub mod tool_definitions;
pub mod users;

use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::ids::{ConfirmationId, KeyId, LimitId, SessionId, UserId};
use gateway_core::reason::Reason;
use gateway_core::server::{Server, ServerStatus};
use gateway_store::access_request::{AccessRequest, Decision};
use gateway_store::agent::{AgentEdit, StoredAgent, StoredDelegation};
use gateway_store::api_key::StoredKey;
use gateway_store::connection::StoredConnection;
use gateway_store::group::GroupEdit;
use gateway_store::limit::StoredLimit;
use gateway_store::people::{NewUser, Seen, UserEdit};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, schema_for};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

pub use install::{InstallLinks, install_links};
pub use run::Page;
pub(crate) use run::Run;

use crate::perform::{Answer, Planned, Refused};
use access::ExplainAccess;
use access_requests::{
    CancelAccessRequest, DecideAccessRequest, ListAccessRequests, RequestAccess,
};
use agent_accounts::{
    CreateAgentAccount, GetAgentAccount, ListAgentAccounts, RotateAgentAccountSecret,
    SetAgentAccountStatus, UpdateAgentAccount,
};
use analytics::{ExportAnalyticsDataset, ExportServerAnalytics};
use api_keys::{CreateApiKey, ListApiKeys, RevokeApiKey};
use audit::{ExportAuditLogs, GetAuditLog, ListAuditLogs};
use browser_sessions::{ListBrowserSessions, RevokeBrowserSession};
use catalog_servers::ListCatalogServers;
use confirmations::{DecideConfirmation, GetConfirmation, ListConfirmations};
use connections::{DisconnectServer, ListConnections};
use delegations::{CreateDelegation, ListDelegations, RevokeDelegation};
use groups::{CreateGroup, DeleteGroup, GetGroup, ListGroups, UpdateGroup};
use limits::{DeleteLimit, ListLimits, SetLimit};
use listings::{ListServerPrompts, ListServerResources, ListServerTools};
use oauth_sessions::{ListOauthSessions, RevokeOauthSession, SessionRow};
use policies::{
    CreatePolicy, DeletePolicy, GetPolicy, ListPolicies, ListPolicyVersions, ListServerPolicies,
    ReplayPolicy, RestorePolicy, UpdatePolicy,
};
use roles::ListRoles;
use scanners::{
    GetSecurityScannerSettings, ListSecurityScannerChanges, TestScanner,
    UpdateSecurityScannerSettings,
};
use server_changes::{CreateServer, UpdateServer};
use servers::{GetServer, ListServers, SetServerStatus};
use sign_in::{CreateSignInLink, SetLocalPassword};
use tool_definitions::{ApproveToolDefinitions, ListToolDefinitionChanges};
use users::{CreateUser, GetUser, ListUsers, UpdateUser};

/// One row of [`OPERATIONS`].
#[derive(Clone, Copy)]
pub struct OperationSpec {
    /// Its name on every face, and the action in `policies/default/platform.cedar`.
    pub name: &'static str,
    /// True when it changes something.
    pub mutates: bool,
    /// False for what only the command line and a person's own pages do: no model handles keys.
    pub on_faces: bool,
    /// False for what shows a secret: no model handles secrets.
    pub on_tools: bool,
    /// The JSON Schema of its arguments.
    pub arguments: fn() -> Schema,
    /// The JSON Schema of its answer.
    pub answer: fn() -> Schema,
    /// Reads its arguments, strictly.
    pub read: fn(Value) -> Result<Operation, Refused>,
}

impl std::fmt::Debug for OperationSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperationSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The row of that name.
pub fn spec(name: &str) -> Option<&'static OperationSpec> {
    OPERATIONS.iter().find(|spec| spec.name == name)
}

/// Whether nothing that a call of this operation says or gives is kept in its record: what is tried may be anything.
pub fn keeps_nothing(operation: &str) -> bool {
    operation == "test_scanner"
}

fn read<A: DeserializeOwned>(arguments: Value) -> Result<A, Refused> {
    serde_json::from_value(arguments)
        .map_err(|e| Refused::new(Reason::InvalidParams, e.to_string()))
}

fn schema<T: JsonSchema>() -> Schema {
    schema_for!(T)
}

/// What is left out when it is empty is not required.
fn answer_schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}

/// What an operation does first.
pub(crate) enum Step {
    /// It only reads, and has read.
    Answer(Answer),
    /// It changes something, and may.
    Change(Box<Planned>),
}

impl Step {
    fn change(planned: Planned) -> Step {
        Step::Change(Box::new(planned))
    }
}

macro_rules! operations {
    ($($variant:ident($arguments:ident) -> $answer:ty: $name:literal $kind:ident $faces:ident,)+) => {
        /// An operation with its arguments.
        #[derive(Debug, Clone)]
        pub enum Operation {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant($arguments),
            )+
        }

        /// Every operation.
        pub const OPERATIONS: &[OperationSpec] = &[$(OperationSpec {
            name: $name,
            mutates: operations!(@mutates $kind),
            on_faces: operations!(@faces $faces),
            on_tools: operations!(@tools $faces),
            arguments: schema::<$arguments>,
            answer: answer_schema::<$answer>,
            read: |arguments| read(arguments).map(Operation::$variant),
        }),+];

        impl Operation {
            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Operation::$variant(_) => $name),+ }
            }

            /// True when it changes something.
            pub fn mutates(&self) -> bool {
                match self { $(Operation::$variant(_) => operations!(@mutates $kind)),+ }
            }

            /// Authorises and reads, or authorises and plans a change.
            pub(crate) async fn step(self, run: &Run<'_>) -> Result<Step, Refused> {
                match self { $(
                    Operation::$variant(arguments) => operations!(@step $kind arguments run)
                ),+ }
            }
        }
    };
    (@mutates looks) => { false };
    (@mutates reads) => { false };
    (@mutates changes) => { true };
    (@mutates reads_and_changes) => { true };
    (@mutates asks) => { true };
    (@faces everywhere) => { true };
    (@faces rest) => { true };
    (@faces command_line) => { false };
    (@tools everywhere) => { true };
    (@tools rest) => { false };
    (@tools command_line) => { false };
    (@step looks $arguments:ident $run:ident) => { $arguments.answer($run).map(Step::Answer) };
    (@step reads $arguments:ident $run:ident) => {
        $arguments.answer($run).await.map(Step::Answer)
    };
    (@step changes $arguments:ident $run:ident) => { $arguments.plan($run).map(Step::change) };
    (@step reads_and_changes $arguments:ident $run:ident) => {
        $arguments.plan($run).await.map(Step::change)
    };
    (@step asks $arguments:ident $run:ident) => { $arguments.step($run).await };
}

// `looks`: the snapshot has it; `reads`: the database or a server is asked. `changes`: planned from the
// snapshot; `reads_and_changes`: planned from what the database says; `asks`: the same, or an answer where
// there is nothing to change.
operations! {
    ListServers(ListServers) -> Page<servers::ServerRow>: "list_servers" reads everywhere,
    GetServer(GetServer) -> servers::ServerDetail: "get_server" reads everywhere,
    ListServerTools(ListServerTools) -> Page<listings::Item>: "list_server_tools" reads everywhere,
    ListServerResources(ListServerResources) -> Page<listings::Item>: "list_server_resources" reads everywhere,
    ListServerPrompts(ListServerPrompts) -> Page<listings::Item>: "list_server_prompts" reads everywhere,
    ListAuditLogs(ListAuditLogs) -> Page<audit::Entry>: "list_audit_logs" reads everywhere,
    GetAuditLog(GetAuditLog) -> audit::Detail: "get_audit_log" reads everywhere,
    ExportAuditLogs(ExportAuditLogs) -> audit::Export: "export_audit_logs" reads everywhere,
    ExportAnalyticsDataset(ExportAnalyticsDataset) -> analytics::Report: "export_analytics_dataset" reads everywhere,
    ExportServerAnalytics(ExportServerAnalytics) -> analytics::Report: "export_server_analytics" reads everywhere,
    ListPolicies(ListPolicies) -> Page<policies::PolicyRow>: "list_policies" looks everywhere,
    ListServerPolicies(ListServerPolicies) -> Page<policies::PolicyRow>: "list_server_policies" looks everywhere,
    GetPolicy(GetPolicy) -> policies::PolicyDetail: "get_policy" looks everywhere,
    CreatePolicy(CreatePolicy) -> policies::PolicyChanged: "create_policy" reads_and_changes everywhere,
    UpdatePolicy(UpdatePolicy) -> policies::PolicyChanged: "update_policy" reads_and_changes everywhere,
    DeletePolicy(DeletePolicy) -> policies::PolicyChanged: "delete_policy" reads_and_changes everywhere,
    ListPolicyVersions(ListPolicyVersions) -> Page<policies::VersionRow>: "list_policy_versions" reads everywhere,
    RestorePolicy(RestorePolicy) -> policies::PolicyChanged: "restore_policy" reads_and_changes everywhere,
    ReplayPolicy(ReplayPolicy) -> policies::Replayed: "replay_policy" reads everywhere,
    ExplainAccess(ExplainAccess) -> access::Explained: "explain_access" looks everywhere,
    ListConfirmations(ListConfirmations) -> Page<confirmations::ConfirmationRow>: "list_confirmations" reads everywhere,
    GetConfirmation(GetConfirmation) -> confirmations::ConfirmationRow: "get_confirmation" reads everywhere,
    DecideConfirmation(DecideConfirmation) -> confirmations::Decision: "decide_confirmation" reads_and_changes everywhere,
    RequestAccess(RequestAccess) -> access_requests::AccessRequestRow: "request_access" asks everywhere,
    ListAccessRequests(ListAccessRequests) -> Page<access_requests::AccessRequestRow>: "list_access_requests" reads everywhere,
    CancelAccessRequest(CancelAccessRequest) -> access_requests::AccessRequestRow: "cancel_access_request" reads_and_changes everywhere,
    DecideAccessRequest(DecideAccessRequest) -> access_requests::AccessRequestRow: "decide_access_request" reads_and_changes everywhere,
    CreateAgentAccount(CreateAgentAccount) -> agent_accounts::AgentWithSecret: "create_agent_account" changes everywhere,
    ListAgentAccounts(ListAgentAccounts) -> Page<agent_accounts::AgentRow>: "list_agent_accounts" looks everywhere,
    GetAgentAccount(GetAgentAccount) -> agent_accounts::AgentRow: "get_agent_account" looks everywhere,
    SetAgentAccountStatus(SetAgentAccountStatus) -> agent_accounts::AgentWithSecret: "set_agent_account_status" changes everywhere,
    RotateAgentAccountSecret(RotateAgentAccountSecret) -> agent_accounts::AgentWithSecret: "rotate_agent_account_secret" changes rest,
    UpdateAgentAccount(UpdateAgentAccount) -> agent_accounts::AgentWithSecret: "update_agent_account" changes everywhere,
    CreateDelegation(CreateDelegation) -> delegations::DelegationRow: "create_delegation" changes everywhere,
    ListDelegations(ListDelegations) -> Page<delegations::DelegationRow>: "list_delegations" looks everywhere,
    RevokeDelegation(RevokeDelegation) -> delegations::DelegationRow: "revoke_delegation" changes everywhere,
    ListOauthSessions(ListOauthSessions) -> Page<oauth_sessions::SessionRow>: "list_oauth_sessions" reads everywhere,
    RevokeOauthSession(RevokeOauthSession) -> oauth_sessions::SessionEnded: "revoke_oauth_session" reads_and_changes everywhere,
    ListConnections(ListConnections) -> Page<connections::ConnectionRow>: "list_connections" reads everywhere,
    DisconnectServer(DisconnectServer) -> connections::Disconnected: "disconnect_server" reads_and_changes everywhere,
    ListCatalogServers(ListCatalogServers) -> Page<catalog_servers::CatalogRow>: "list_catalog_servers" looks everywhere,
    CreateServer(CreateServer) -> server_changes::ServerMade: "create_server" reads_and_changes everywhere,
    UpdateServer(UpdateServer) -> server_changes::ServerMade: "update_server" reads_and_changes everywhere,
    SetServerStatus(SetServerStatus) -> servers::StatusChanged: "set_server_status" changes everywhere,
    ListToolDefinitionChanges(ListToolDefinitionChanges) -> Page<tool_definitions::ChangeRow>: "list_tool_definition_changes" reads everywhere,
    ApproveToolDefinitions(ApproveToolDefinitions) -> tool_definitions::DefinitionsDecided: "approve_tool_definitions" reads_and_changes everywhere,
    ListLimits(ListLimits) -> Page<limits::LimitRow>: "list_limits" reads everywhere,
    SetLimit(SetLimit) -> limits::LimitRow: "set_limit" changes everywhere,
    DeleteLimit(DeleteLimit) -> limits::LimitDeleted: "delete_limit" changes everywhere,
    GetSecurityScannerSettings(GetSecurityScannerSettings) -> scanners::ScannerSettingsRow: "get_security_scanner_settings" looks everywhere,
    UpdateSecurityScannerSettings(UpdateSecurityScannerSettings) -> scanners::ScannerSettingsRow: "update_security_scanner_settings" reads_and_changes everywhere,
    ListSecurityScannerChanges(ListSecurityScannerChanges) -> Page<scanners::ScannerChangeRow>: "list_security_scanner_changes" reads everywhere,
    TestScanner(TestScanner) -> scanners::ScannerTested: "test_scanner" looks everywhere,
    ListUsers(ListUsers) -> Page<users::UserRow>: "list_users" reads everywhere,
    GetUser(GetUser) -> users::UserDetail: "get_user" reads everywhere,
    CreateUser(CreateUser) -> users::UserRow: "create_user" reads_and_changes everywhere,
    UpdateUser(UpdateUser) -> users::UserRow: "update_user" reads_and_changes everywhere,
    ListGroups(ListGroups) -> Page<groups::GroupRow>: "list_groups" reads everywhere,
    GetGroup(GetGroup) -> groups::GroupDetail: "get_group" reads everywhere,
    CreateGroup(CreateGroup) -> groups::GroupRow: "create_group" reads_and_changes everywhere,
    UpdateGroup(UpdateGroup) -> groups::GroupRow: "update_group" reads_and_changes everywhere,
    DeleteGroup(DeleteGroup) -> groups::GroupDeleted: "delete_group" reads_and_changes everywhere,
    ListRoles(ListRoles) -> Page<roles::RoleRow>: "list_roles" looks everywhere,
    CreateApiKey(CreateApiKey) -> api_keys::CreatedKey: "create_api_key" changes rest,
    ListApiKeys(ListApiKeys) -> Page<api_keys::KeyRow>: "list_api_keys" reads everywhere,
    RevokeApiKey(RevokeApiKey) -> api_keys::RevokedKey: "revoke_api_key" reads_and_changes everywhere,
    ListBrowserSessions(ListBrowserSessions) -> Page<browser_sessions::BrowserSessionRow>: "list_browser_sessions" reads command_line,
    RevokeBrowserSession(RevokeBrowserSession) -> browser_sessions::RevokedBrowserSession: "revoke_browser_session" reads_and_changes command_line,
    SetLocalPassword(SetLocalPassword) -> sign_in::PasswordSet: "set_local_password" changes command_line,
    CreateSignInLink(CreateSignInLink) -> sign_in::SignInLink: "create_sign_in_link" changes command_line,
}

/// A change that is allowed, with everything that it takes.
pub(crate) enum Change {
    /// Of `set_server_status`.
    ServerStatus { server: Arc<Server>, after: ServerStatus },
    /// Of `create_server`.
    NewServer(Box<Server>),
    /// Of `update_server`.
    ServerPatch(Box<server_changes::Patched>),
    /// Of `create_policy`, `update_policy`, `delete_policy` and `restore_policy`.
    Policy(Box<policies::Write>),
    /// Of `decide_confirmation`.
    Confirmation { id: ConfirmationId, approve: bool },
    /// Of `request_access`.
    NewAccessRequest(Box<AccessRequest>),
    /// Of `cancel_access_request`.
    CancelAccessRequest(Box<AccessRequest>),
    /// Of `decide_access_request`.
    DecideAccessRequest(Box<(AccessRequest, Decision)>),
    /// Of `create_agent_account`.
    NewAgent { agent: Box<StoredAgent>, secret: Option<SecretString> },
    /// Of `set_agent_account_status`.
    AgentStatus { id: UserId, enabled: bool },
    /// Of `rotate_agent_account_secret`.
    AgentSecret { id: UserId, secret: SecretString },
    /// Of `update_agent_account`.
    EditAgent { id: UserId, edit: Box<AgentEdit> },
    /// Of `create_user`.
    NewUser(Box<NewUser>),
    /// Of `update_user`.
    EditUser { id: UserId, edit: Box<UserEdit>, seen: Seen },
    /// Of `create_group`.
    NewGroup { id: Uuid, name: String, members: Vec<UserId> },
    /// Of `update_group`.
    EditGroup { id: Uuid, edit: Box<GroupEdit> },
    /// Of `delete_group`.
    DeleteGroup { id: Uuid, name: String },
    /// Of `create_delegation`.
    NewDelegation(Box<StoredDelegation>),
    /// Of `revoke_delegation`.
    EndDelegation(Box<StoredDelegation>),
    /// Of `revoke_oauth_session`.
    EndSession { id: SessionId, row: Box<SessionRow> },
    /// Of `disconnect_server`.
    Disconnect { server: Arc<Server>, found: StoredConnection },
    /// Of `approve_tool_definitions`.
    Definitions(Box<tool_definitions::Deciding>),
    /// Of `set_limit`.
    SetLimit(StoredLimit),
    /// Of `delete_limit`.
    DeleteLimit { id: LimitId, name: String },
    /// Of `update_security_scanner_settings`.
    Scanners(Box<scanners::Write>),
    /// Of `create_api_key`.
    NewKey { key: SecretString, stored: StoredKey },
    /// Of `revoke_api_key`.
    RevokeKey { id: KeyId, whose: Option<UserId> },
    /// Of `revoke_browser_session`.
    EndBrowser { id: SessionId },
    /// Of `set_local_password`.
    Password { user: Arc<User>, password: SecretString },
    /// Of `create_sign_in_link`.
    SignInLink { user: Arc<User> },
}

impl Change {
    /// Makes it, in one transaction.
    pub(crate) async fn apply(self, run: &Run<'_>) -> Result<Answer, Refused> {
        match self {
            Change::ServerStatus { server, after } => {
                servers::set_status(run, &server, after).await
            }
            Change::NewServer(server) => server_changes::create(run, &server).await,
            Change::ServerPatch(patched) => server_changes::update(run, &patched).await,
            Change::Policy(write) => policies::write(run, *write).await,
            Change::Confirmation { id, approve } => confirmations::decide(run, id, approve).await,
            Change::NewAccessRequest(new) => access_requests::open(run, *new).await,
            Change::CancelAccessRequest(found) => access_requests::cancel(run, *found).await,
            Change::DecideAccessRequest(decided) => access_requests::decide(run, *decided).await,
            Change::NewAgent { agent, secret } => agent_accounts::create(run, *agent, secret).await,
            Change::AgentStatus { id, enabled } => {
                agent_accounts::set_status(run, id, enabled).await
            }
            Change::AgentSecret { id, secret } => agent_accounts::set_secret(run, id, secret).await,
            Change::EditAgent { id, edit } => agent_accounts::edit(run, id, &edit).await,
            Change::NewUser(new) => users::create(run, *new).await,
            Change::EditUser { id, edit, seen } => users::edit(run, id, &edit, &seen).await,
            Change::NewGroup { id, name, members } => {
                groups::create(run, (id, name), members).await
            }
            Change::EditGroup { id, edit } => groups::edit(run, id, &edit).await,
            Change::DeleteGroup { id, name } => groups::delete(run, id, name).await,
            Change::NewDelegation(new) => delegations::create(run, *new).await,
            Change::EndDelegation(found) => delegations::revoke(run, *found).await,
            Change::EndSession { id, row } => oauth_sessions::revoke(run, id, *row).await,
            Change::Disconnect { server, found } => {
                connections::disconnect(run, &server, &found).await
            }
            Change::Definitions(deciding) => tool_definitions::decide(run, *deciding).await,
            Change::SetLimit(limit) => limits::set(run, limit).await,
            Change::DeleteLimit { id, name } => limits::delete(run, id, name).await,
            Change::Scanners(write) => scanners::write(run, *write).await,
            Change::NewKey { key, stored } => {
                api_keys::create(run, key.expose_secret().to_owned(), stored).await
            }
            Change::RevokeKey { id, whose } => api_keys::revoke(run, id, whose).await,
            Change::EndBrowser { id } => browser_sessions::end(run, id).await,
            Change::Password { user, password } => {
                sign_in::set_password(run, &user, password).await
            }
            Change::SignInLink { user } => sign_in::create_link(run, &user).await,
        }
    }
}

fn answer<T: Serialize>(value: &T) -> Result<Answer, Refused> {
    let value = serde_json::to_value(value).map_err(|e| {
        Refused::new(Reason::Internal, format!("the answer cannot be written: {e}"))
    })?;
    Ok(Answer { value, note: None, file: None })
}

/// Reads an instant that is called `name`.
fn instant(name: &'static str) -> impl Fn(&str) -> Result<Timestamp, Refused> {
    move |text| {
        let read = Timestamp::parse(text, &Rfc3339);
        let read = read.map(|at| at.to_offset(time::UtcOffset::UTC));
        read.map_err(|_| {
            Refused::params(format!("{name}: expected RFC 3339, as 2026-01-31T12:00:00Z"))
        })
    }
}

pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// Makes a change count on this replica before it is answered; others hear of it by themselves.
async fn seen_here(run: &Run<'_>) {
    if let Err(error) = run.governance.current.refresh().await {
        tracing::warn!(%error, "a change is committed, but not seen here yet");
    }
}
