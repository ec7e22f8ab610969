//! The ids of members and clusters, computed as etcd computes them, so that every member of a new cluster arrives at the
//! same ones without asking the others. Never decides who belongs to a cluster.

use sha1::{Digest as _, Sha1};

use super::Identity;
use crate::model::{ClusterId, MemberId};

/// What etcd computes ids from when it is told nothing else.
const DEFAULT_PEER_URL: &str = "http://localhost:2380";
const DEFAULT_TOKEN: &str = "etcd-cluster";

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

/// The ids of the only member of a cluster.
#[must_use]
pub fn member_identity(peer_urls: &[String], token: &str) -> Identity {
    let member = member_id(peer_urls, token);
    Identity { cluster: cluster_id([member]), member }
}

/// The ids of the member of a cluster of one that was told nothing else: those of an etcd started without any flag.
#[must_use]
pub fn lone_identity() -> Identity {
    member_identity(&[DEFAULT_PEER_URL.to_owned()], DEFAULT_TOKEN)
}

fn first_bytes(hash: Sha1) -> u64 {
    let digest: [u8; 20] = hash.finalize().into();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_member_has_the_ids_of_an_etcd_without_flags() {
        let identity = lone_identity();
        assert_eq!(identity.member.to_string(), "8e9e05c52164694d");
        assert_eq!(identity.cluster.to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_in_which_urls_are_named_does_not_matter() {
        // What an etcd 3.4 shows that was told of these URLs in this order.
        let urls = ["http://127.0.0.18:23801", "http://127.0.0.17:23801"].map(str::to_owned);
        let identity = member_identity(&urls, DEFAULT_TOKEN);
        assert_eq!(identity.member.to_string(), "389851329deeef65");
        assert_eq!(identity.cluster.to_string(), "91312c9b27dd2078");
    }
}
