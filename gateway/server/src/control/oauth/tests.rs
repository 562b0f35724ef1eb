//! What clients see of the authorization server over HTTP.
