//! Rosters for discovery: directories in which the members of clusters to be enter themselves, by etcd's v2 API, and find
//! each other. What they write there are keys like any others.

use super::{Call, Error, Service};
use crate::model::limits::MAX_DISCOVERY_SIZE;
use crate::model::{Attach, Command, Condition, Key, Put};

/// Where rosters are, as at discovery.etcd.io.
const ROSTERS: &str = "/_etcd/registry";

impl Service {
    /// Makes a roster for a cluster of so many members. Gives its directory, without a slash at the end.
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
        let key = Key::new(format!("{directory}/_config/size")).ok_or(Error::InvalidArgument(directory.clone()))?;
        let value = Some(size.to_string().into());
        let put = Put { key, value, content_type: None, attach: Attach::Detach, previous: false };
        self.write(call, Command::Put { put, condition: Condition::default() }).await?;
        Ok(directory)
    }
}
