//! What decides who may use the server.

use super::keys::ApiKeys;

/// Who may use the server. The default lets everybody in who can connect, but no web page of
/// another origin.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// One of these must be shown, if there are any.
    pub keys: ApiKeys,
    /// Web origins whose pages may read answers; `*` for all.
    pub allowed_origins: Vec<String>,
    /// Further names by which this machine is asked, beside addresses and names that no public site
    /// can have; `*` for all. They matter on a loopback address, without keys.
    pub allowed_hosts: Vec<String>,
    /// Whether only this machine can connect. [`serve`](crate::serve) finds it out itself.
    pub is_loopback: bool,
}
