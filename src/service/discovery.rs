//! Rosters for discovery: directories in which the members of clusters to be enter themselves, by etcd's v2 API, and find
//! each other. What they write there are keys like any others.

use super::{Call, Error, Service};
use crate::model::limits::MAX_DISCOVERY_SIZE;
use crate::model::{Attach, Command, Key, Op, Put, Ttl, Txn};

/// Where rosters are, as at discovery.etcd.io.
const ROSTERS: &str = "/_etcd/registry";
/// How long a roster lasts: a week. Anybody may make one, and most are needed for minutes.
const ROSTER_TTL: Ttl = Ttl(7 * 24 * 60 * 60 * 1000);

impl Service {
    /// Makes a roster for a cluster of so many members. Gives its directory, without a slash at the end. After
    /// a week, the directory goes with all that is in it: a cluster that has begun needs it no longer.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size that no cluster has, and the errors of a write.
    pub async fn new_roster(&self, call: &Call, size: u64) -> Result<String, Error> {
        if !(1..=MAX_DISCOVERY_SIZE).contains(&size) {
            let what = format!("`size` is the number of members of the cluster to be, 1 to {MAX_DISCOVERY_SIZE}");
            return Err(Error::InvalidArgument(what));
        }
        // Whoever knows the name may enter a member, so nobody is to guess it.
        let directory = format!("{ROSTERS}/{:032x}", rand::random::<u128>());
        let put = |name: &str, value: String, attach| {
            let key =
                Key::new(format!("{directory}/{name}")).ok_or_else(|| Error::InvalidArgument(directory.clone()))?;
            Ok::<_, Error>(Op::Put(Put { key, value: Some(value.into()), content_type: None, attach, previous: false }))
        };
        // The lease is the marker's, so that it takes along what members will write.
        let marker = put("", String::new(), Attach::Own { id: self.new_lease_id(), ttl: ROSTER_TTL })?;
        let then = vec![marker, put("_config/size", size.to_string(), Attach::Detach)?];
        self.write(call, Command::Txn(Txn { compares: Vec::new(), then, otherwise: Vec::new() })).await?;
        Ok(directory)
    }
}
