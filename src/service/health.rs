//! Whether the member can serve, check by check.

use super::{Error, Service};
use crate::node::{Published, Room};

/// One thing that has to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What is wrong; `None` when nothing is.
    pub problem: Option<String>,
}

/// The checks, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub checks: Vec<Check>,
}

impl Readiness {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.problem.is_none())
    }
}

impl Service {
    /// Whether the process is worth keeping: false once the member has met a fault that only a restart can mend.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.node.failed().is_none()
    }

    /// Whether reads and writes can be expected to work here now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let node = &self.0.node;
        let failed = node.failed().map(|reason| reason.to_string());
        let waiting = must_be_begun(&node.latest()).err().map(|error| error.to_string());
        let leader = node.leader().is_none().then(|| "there is no leader".to_owned());
        let unknown = !node.is_described();
        let unknown =
            unknown.then(|| "the members do not know yet what it is called and where clients reach it".to_owned());
        let draining = self.0.shutdown.is_cancelled().then(|| "the server is shutting down".to_owned());
        let is_short = node.own_room() != Room::Enough;
        let space = is_short.then(|| "the disk is nearly full: writes that grow are refused".to_owned());
        Readiness {
            checks: vec![
                Check { name: "member", problem: failed.or(waiting).or(unknown) },
                Check { name: "leader", problem: leader },
                Check { name: "space", problem: space },
                Check { name: "serving", problem: draining },
            ],
        }
    }
}

/// Refuses to answer from the state of a member that has joined and not got the cluster's yet: that nothing is there is not so.
/// A state that is one names the members.
pub(super) fn must_be_begun(state: &Published) -> Result<(), Error> {
    if state.members.is_empty() { Err(Error::NoState) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::model::{ClusterId, KeyRange, MemberId};
    use crate::node::{Beginning, Identity, Node, Options};
    use crate::observe::Metrics;
    use crate::service::{Call, Consistency, Limits, OnCompacted, Start, WatchRequest};

    #[tokio::test]
    async fn a_member_without_a_state_is_not_ready_and_answers_nothing_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: ClusterId(1), member: MemberId(2) };
        let options = Options::small(dir.path(), identity, Beginning::Join { others: Vec::new() });
        let node = Node::start(&options, Metrics::new(), Vec::new()).unwrap();
        let token = CancellationToken::new();
        let service = Service::new(node.handle(), String::new(), Limits::default(), Metrics::new(), token);
        let checks = service.readiness().checks;
        let problem = checks.iter().find(|check| check.name == "member").unwrap().problem.clone().unwrap();
        assert!(problem.contains("it waits for that of the leader"), "{problem}");
        assert!(service.is_alive());
        let call = Call::new(Instant::now() + Duration::from_secs(10));
        assert_eq!(service.reader(&call, Consistency::Serializable).await.unwrap_err(), Error::NoState);
        assert_eq!(service.cluster(&call, Consistency::Serializable).await.unwrap_err(), Error::NoState);
        let request = WatchRequest {
            range: KeyRange::prefix("/"),
            children_of: None,
            kinds: Vec::new(),
            start: Start::Now,
            on_compacted: OnCompacted::End,
            progress_every: None,
        };
        assert_eq!(service.watch(&call, request).await.unwrap_err(), Error::NoState);
        node.stop();
    }
}
