//! The messages and services of `proto/`, as `build.rs` makes them. Nothing here is written by hand.

#![expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "generated code has its own style"
)]

include!(concat!(env!("OUT_DIR"), "/server/mod.rs"));

pub(crate) use etcdserverpb::*;
pub(crate) use grpc::health::v1 as health;
pub(crate) use mvccpb::{Event, KeyValue, event};
pub(crate) use {v3electionpb as election, v3lockpb as lock};

/// All of it as `protoc` would describe it, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors"));
