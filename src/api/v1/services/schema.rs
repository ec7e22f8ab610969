//! The shapes of `/v1/services` for its description, and for whoever reads its answers in Rust.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What an instance says of itself. What is not listed here goes into `meta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"address": "10.0.0.7", "port": 8080, "tags": ["v2"], "meta": {"zone": "a"}, "weight": 1}))]
pub struct InstanceDocument {
    /// A host name, or an IP address without brackets.
    #[schema(min_length = 1, max_length = 255)]
    pub address: String,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// Words to find it by, each once.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub tags: Option<Vec<String>>,
    /// Anything else, for its clients to read.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    /// The share of the load that it asks for. Default 1.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub weight: Option<u32>,
    /// Default `passing`.
    #[serde(default)]
    pub status: Option<StatusWord>,
}

/// How an instance is, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatusWord {
    Passing,
    Warning,
    Critical,
    /// It finishes what it has and wants nothing new.
    Draining,
}

/// An instance as it is registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"service": "web", "instance": "a", "address": "10.0.0.7", "port": 8080, "tags": ["v2"],
    "meta": {"zone": "a"}, "weight": 1, "status": "passing", "ttl": 14.2, "lease": "694d8a1f3c2b", "createRevision": 5,
    "modRevision": 5}))]
pub struct InstanceObject {
    pub service: String,
    pub instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// `critical`, where the value is not what an instance says of itself.
    pub status: StatusWord,
    /// Why the value, written by hand, is not what an instance says of itself. In place of `address`, `port`, `tags`,
    /// `meta` and `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
    /// The seconds that are left until it is gone, unless it sends a heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
    /// The lease that it lives by, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The revision that it was registered at.
    pub create_revision: u64,
    /// The revision of the last change.
    pub mod_revision: u64,
}

/// A page of the instances of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "service": "web", "items": [{"service": "web", "instance": "a", "address": "10.0.0.7",
    "port": 8080, "tags": ["v2"], "meta": {"zone": "a"}, "weight": 1, "status": "passing", "ttl": 14.2,
    "lease": "694d8a1f3c2b", "createRevision": 5, "modRevision": 5}]}))]
pub struct InstanceList {
    /// The revision that the page shows; all pages of a list show the same.
    pub revision: u64,
    pub service: String,
    /// In order of name.
    pub items: Vec<InstanceObject>,
    /// There is more: ask again with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A service in a few words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"service": "web", "instances": 3, "passing": 2, "tags": ["v1", "v2"]}))]
pub struct ServiceObject {
    pub service: String,
    /// How many instances it has.
    pub instances: u64,
    /// How many of them are passing.
    pub passing: u64,
    /// The tags of all of them, sorted; the first 1000.
    pub tags: Vec<String>,
    /// There, and true, where there are more tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_tags: Option<bool>,
}

/// A page of the services that have instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"revision": 12, "items": [{"service": "web", "instances": 3, "passing": 2, "tags": ["v1", "v2"]}]}))]
pub struct ServiceList {
    /// The revision that the page shows; all pages of a list show the same.
    pub revision: u64,
    /// In order of name.
    pub items: Vec<ServiceObject>,
    /// There is more: ask again with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An instance that was kept alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"service": "web", "instance": "a", "ttl": 15, "grantedTtl": 15}))]
pub struct HeartbeatObject {
    pub service: String,
    pub instance: String,
    /// The seconds that are left.
    pub ttl: f64,
    /// The seconds that a heartbeat sets it to.
    pub granted_ttl: f64,
}
