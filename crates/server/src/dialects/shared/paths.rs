//! Paths with and without a version.

use axum::Router;
use axum::routing::MethodRouter;

use crate::state::AppState;

/// The version of most paths. Clients whose base URL lacks it get the same under the bare path.
const VERSION: &str = "/v1";

/// Routes that are there with and without the version before their path.
pub(crate) trait VersionedRoutes {
    /// Adds the routes of `path`, which follows the version.
    fn versioned(self, path: &str, methods: MethodRouter<AppState>) -> Self;
}

impl VersionedRoutes for Router<AppState> {
    fn versioned(self, path: &str, methods: MethodRouter<AppState>) -> Self {
        self.route(&format!("{VERSION}{path}"), methods.clone())
            .route(path, methods)
    }
}

/// A path without the version that it may begin with.
pub(crate) fn without_version(path: &str) -> &str {
    let rest = path.strip_prefix(VERSION);
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}
