//! How services and instances stand in JSON, in answers and in watches alike.

use crate::api::v1::format::{self, Object};
use crate::model::Ttl;
use crate::service::registry::{Instance, InstanceName, Summary};

/// The members of an instance, without the braces. `ttl` is what is left of its lease, where that is known.
pub(super) fn instance_members(object: &mut Object<'_>, instance: &Instance, ttl: Option<Ttl>) {
    name_members(object, &instance.name);
    document_members(object, instance);
    if let Some(lease) = instance.lease {
        if let Some(ttl) = ttl {
            object.seconds("ttl", ttl);
        }
        object.id("lease", lease.get());
    }
    object.number("createRevision", instance.create_revision.get());
    object.number("modRevision", instance.mod_revision.get());
}

pub(super) fn name_members(object: &mut Object<'_>, name: &InstanceName) {
    object.string("service", name.service.as_str());
    object.string("instance", name.instance.as_str());
}

/// What the instance says of itself, or why it says nothing.
pub(super) fn document_members(object: &mut Object<'_>, instance: &Instance) {
    match &instance.document {
        Ok(document) => {
            object.string("address", &document.address);
            if let Some(port) = document.port {
                object.number("port", port.into());
            }
            object.array("tags", &document.tags, |out, tag| format::string(out, tag));
            object.raw("meta", document.meta.as_bytes());
            object.number("weight", document.weight.into());
            object.string("status", document.status.as_str());
        }
        Err(why) => {
            object.string("status", instance.status().as_str());
            object.string("invalid", why);
        }
    }
}

/// A service as an object.
pub(super) fn summary(out: &mut Vec<u8>, summary: &Summary) {
    let mut object = Object::begin(out);
    object.string("service", summary.service.as_str());
    object.number("instances", summary.instances);
    object.number("passing", summary.passing);
    object.array("tags", &summary.tags, |out, tag| format::string(out, tag));
    if summary.more_tags {
        object.boolean("moreTags", true);
    }
    object.end();
}
