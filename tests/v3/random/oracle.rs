//! The etcd that sequences are compared with, and what it is not asked: where the versions differ, Vardr follows one of them
//! (`docs/etcd-v3.md`), and here stands what comes of that for the other. What neither is asked, `generate.rs` leaves out.

use super::call::Call;
use super::step::{Step, Way};
use crate::support::etcd::{Etcd, Release};
use crate::told::Reading;

/// One of etcd's members. Its hashes of passwords take less time than they should.
pub(crate) fn start(release: Release) -> Etcd {
    release.start(&["--bcrypt-cost", "4", "--logger", "zap", "--log-level", "error"])
}

/// How what etcd says in JSON is read, and what Vardr says beside it.
pub(crate) fn readings(release: Release) -> [Reading; 2] {
    match release {
        Release::Debian => [Reading::Debian, Reading::Letters],
        Release::Later => [Reading::Values; 2],
    }
}

/// A step as both are asked it, if they are.
pub(crate) fn asked(release: Release, step: &Step) -> Option<Step> {
    match (release, step) {
        // It shows what the role was granted, later ones that it permits everything.
        (Release::Debian, Step::Call(_, Call::RoleGet(request))) if request.role == "root" => None,
        // It reads JSON otherwise than those before it: what is spoilt, and bytes as numbers.
        (Release::Later, Step::Call(Way::Spoilt(_), _) | Step::KeepAlive(Way::Spoilt(_), _)) => None,
        (Release::Later, Step::Call(Way::Json(_), call)) => Some(Step::Call(Way::Json(None), call.clone())),
        (Release::Later, Step::KeepAlive(Way::Json(_), requests)) => {
            Some(Step::KeepAlive(Way::Json(None), requests.clone()))
        }
        (Release::Later, Step::Turn(Way::Json(_), turn)) => Some(Step::Turn(Way::Json(None), *turn)),
        (Release::Later, Step::Lines(stream, _, requests)) => Some(Step::Lines(*stream, None, requests.clone())),
        (Release::Debian | Release::Later, step) => Some(step.clone()),
    }
}

/// Whether streams are asked how far they are. 3.6 has no answer, now or later, where a watch has not caught up when it is asked, which nobody
/// can know of it.
pub(crate) fn tells_progress(release: Release) -> bool {
    release == Release::Debian
}

/// The command that plays a seed again.
pub(crate) fn again(release: Release, seed: u64) -> String {
    match release {
        Release::Debian => format!("V3_START={seed} V3_CALLS=1 cargo test --test v3 sequences_are_answered_as_etcd"),
        Release::Later => {
            format!("V3_LATER_START={seed} V3_LATER_CALLS=1 cargo test --test v3 sequences_are_answered_as_a_later")
        }
    }
}
