//! The ids of members and clusters, computed as etcd computes them, so that every member of a new cluster arrives at the
//! same ones without asking the others. Never decides who belongs to a cluster.

use sha1::{Digest as _, Sha1};

use crate::model::{ClusterId, MemberId};

/// The id of a member, from its peer URLs in any order and the cluster's token (etcd's `membership.NewMember`).
#[must_use]
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    MemberId(first_bytes(Sha1::new().chain_update(urls.concat()).chain_update(token)))
}

/// The id of the cluster that began with these members, in any order (etcd's `RaftCluster.genID`).
#[must_use]
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> ClusterId {
    let mut ids: Vec<_> = members.into_iter().collect();
    ids.sort();
    let hash = ids.iter().fold(Sha1::new(), |hash, id| hash.chain_update(id.get().to_be_bytes()));
    ClusterId(first_bytes(hash))
}

fn first_bytes(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_urls_are_named_does_not_matter() {
        // What an etcd 3.4 shows that was told of these URLs in this order.
        let urls = ["http://127.0.0.18:23801", "http://127.0.0.17:23801"].map(str::to_owned);
        let member = member_id(&urls, "etcd-cluster");
        assert_eq!(member.to_string(), "389851329deeef65");
        assert_eq!(cluster_id([member]).to_string(), "91312c9b27dd2078");
    }
}
