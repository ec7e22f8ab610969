//! The native API, `/v1`: handlers, what they are documented as, and the routes that bind both together.

pub mod cluster;
pub mod convert;
pub mod cursor;
pub mod elections;
pub mod format;
pub mod history;
pub mod keys;
pub mod leases;
pub mod locks;
pub mod maintenance;
pub mod openapi;
pub mod poll;
pub mod queue;
pub mod schema;
pub mod services;
pub mod txn;
pub mod watch;
pub mod watchers;

use utoipa_axum::router::OpenApiRouter;

use super::{State, health};

/// Every route of `/v1` with its description.
pub fn router() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(keys::router())
        .merge(convert::router())
        .merge(history::router())
        .merge(txn::router())
        .merge(leases::router())
        .merge(locks::router())
        .merge(elections::router())
        .merge(services::router())
        .merge(cluster::router())
        .merge(maintenance::router())
        .merge(watch::router())
        .merge(watchers::router())
        .merge(health::router())
}
