//! A member that is alone, for tests of what the service does by itself.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Call, Done, Limits, Service};
use crate::model::{Attach, Command, Condition, Key, Member, Members, Put, Revision};
use crate::node::{Beginning, Identity, Node, Options, cluster_id, member_id};
use crate::observe::Metrics;

/// The only member of a cluster.
pub(super) struct Alone {
    pub(super) service: Service,
    _node: Node,
    _dir: TempDir,
}

impl Alone {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer_urls = vec!["http://localhost:2380".to_owned()];
        let id = member_id(&peer_urls, "etcd-cluster");
        let member = Member::voter(id, peer_urls.clone());
        let identity = Identity { cluster: cluster_id([id]), member: id };
        let options =
            Options { peer_urls, ..Options::small(dir.path(), identity, Beginning::New(Members::from_iter([member]))) };
        let node = Node::start(&options, Metrics::new(), Vec::new()).unwrap();
        let token = CancellationToken::new();
        let service = Service::new(node.handle(), String::new(), Limits::default(), Metrics::new(), token);
        Self { service, _node: node, _dir: dir }
    }

    /// Puts a key that has no lease.
    pub(super) async fn set(&self, key: &str, value: impl Into<Bytes>) -> Revision {
        let (key, value) = (Key::new(key.to_owned()).unwrap(), Some(value.into()));
        let put = Put { key, value, content_type: None, attach: Attach::Detach, previous: false };
        self.write(Command::Put { put, condition: Condition::default() }).await.revision
    }

    pub(super) async fn write(&self, command: Command) -> Done {
        self.service.write(&call(), command).await.unwrap()
    }
}

/// A call that has time.
pub(super) fn call() -> Call {
    Call::new(Instant::now() + Duration::from_secs(20))
}
