//! Whether the member can serve, check by check.

use super::Service;

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
        let leader = node.leader().is_none().then(|| "there is no leader".to_owned());
        let draining = self.0.shutdown.is_cancelled().then(|| "the server is shutting down".to_owned());
        let space = self.0.space.is_short().then(|| "the disk is nearly full: writes that grow are refused".to_owned());
        Readiness {
            checks: vec![
                Check { name: "member", problem: failed },
                Check { name: "leader", problem: leader },
                Check { name: "space", problem: space },
                Check { name: "serving", problem: draining },
            ],
        }
    }
}
