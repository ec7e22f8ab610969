//! Looking after members: status, alarms, hashes, snapshots, who leads.

use bytes::Bytes;
use futures_util::{Stream, stream};
use tonic::Status;

use super::ask::Ask;
use super::convert::{header, header_now, revision, signed};
use super::errors::Known;
use super::pb;
use super::pb::alarm_request::AlarmAction;
use super::pb::downgrade_request::DowngradeAction;
use crate::api::State;
use crate::api::health::ETCD_VERSION;
use crate::model::{MemberId, Revision};
use crate::node::Room;
use crate::service::SnapshotFile;

/// How the member that answers is.
pub(super) fn status(api: &State) -> pb::StatusResponse {
    let status = api.service().status();
    let cluster = api.service().cluster_at_hand();
    let no_leader = status.leader.is_none().then(|| Known::NoLeader.parts().1.to_owned());
    let alarms = alarms(api).into_iter().map(|alarm| format!("memberID:{} alarm:NOSPACE ", alarm.member_id));
    let applied = status.applied.get();
    pb::StatusResponse {
        header: Some(header(api, status.revision)),
        version: ETCD_VERSION.to_owned(),
        db_size: signed(status.store_bytes),
        leader: status.leader.unwrap_or_default().get(),
        // An entry is known to be committed and applied at once, or nearly so.
        raft_index: applied,
        raft_term: status.term.get(),
        raft_applied_index: applied,
        errors: no_leader.into_iter().chain(alarms).collect(),
        db_size_in_use: signed(status.store_bytes),
        is_learner: cluster.members.get(status.member).is_some_and(|member| member.learner),
        ..pb::StatusResponse::default()
    }
}

/// Shows the members whose disks are nearly full. That is measured: nobody raises it by hand, and it ends when there is room.
pub(super) fn alarm(api: &State, request: &pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
    let wanted = |alarm: &pb::AlarmMember| request.alarm == 0 || request.alarm == alarm.alarm;
    let alarms = match AlarmAction::try_from(request.action) {
        Ok(AlarmAction::Get) => alarms(api).into_iter().filter(wanted).collect(),
        Ok(AlarmAction::Activate) if request.alarm != 0 => {
            return Err(Status::failed_precondition("alarms are measured here, and not raised by request"));
        }
        // There is nothing that a request could have raised and another could end.
        Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => Vec::new(),
    };
    Ok(pb::AlarmResponse { header: Some(header_now(api)), alarms })
}

fn alarms(api: &State) -> Vec<pb::AlarmMember> {
    let reports = api.service().cluster_at_hand().reports;
    let short = reports.into_iter().filter(|(_, report)| report.room != Room::Enough);
    short.map(|(id, _)| pb::AlarmMember { member_id: id.get(), alarm: pb::AlarmType::Nospace.into() }).collect()
}

/// Has nothing to do: the store gives room back by itself.
pub(super) fn defragment() -> pb::DefragmentResponse {
    pb::DefragmentResponse { header: None }
}

/// A hash over everything that the member has stored.
pub(super) async fn hash(api: &State, ask: &Ask) -> Result<pb::HashResponse, Status> {
    let hash = api.service().hash(&ask.call, crate::service::Consistency::Serializable).await;
    let hash = hash.map_err(|error| ask.failed(error))?;
    Ok(pb::HashResponse { header: Some(header(api, hash.revision)), hash: folded(hash.digest) })
}

/// A hash over the keys as they were at a revision, alike on members that have compacted as far.
pub(super) async fn hash_kv(api: &State, ask: &Ask, request: pb::HashKvRequest) -> Result<pb::HashKvResponse, Status> {
    let asked = Some(revision(request.revision)).filter(|asked| *asked > Revision::ZERO);
    let hash = api.service().hash_keys(&ask.call, asked).await.map_err(|error| ask.failed(error))?;
    Ok(pb::HashKvResponse {
        header: Some(header(api, hash.revision)),
        hash: folded(hash.digest),
        // As in etcd, a store that was never compacted says so.
        compact_revision: if hash.compacted == Revision::ZERO { -1 } else { signed(hash.compacted.get()) },
        hash_revision: signed(hash.hashed.get()),
    })
}

/// The most of a snapshot in one message, in bytes, as about in etcd.
const SNAPSHOT_PIECE_BYTES: usize = 64 * 1024;
/// Why a snapshot ends early where its client stands still.
const SNAPSHOT_NOT_READ: &str = "the client took too long to read a piece of the snapshot";

/// The whole state as a file that `vardr snapshot restore` takes, in pieces, with the digest that etcd's clients look for
/// in the last one.
pub(super) async fn snapshot(
    api: &State,
    ask: &Ask,
) -> Result<impl Stream<Item = Result<pb::SnapshotResponse, Status>> + Send + use<>, Status> {
    let file = api.service().snapshot_file(&ask.call).await.map_err(|error| ask.failed(error))?;
    let stopping = Box::pin(api.service().shutdown_signal());
    let sending = Sending { left: file.bytes, file, chunk: Bytes::new(), ended: false, ask: ask.clone() };
    Ok(stream::unfold(Some((sending, stopping)), |state| async move {
        let (mut sending, mut stopping) = state?;
        let piece = tokio::select! {
            () = &mut stopping => Err(Known::Stopped.into()),
            piece = sending.next() => piece,
        };
        let rest = piece.is_ok().then_some((sending, stopping));
        piece.transpose().map(|piece| (piece, rest))
    }))
}

/// A snapshot on its way.
struct Sending {
    file: SnapshotFile,
    chunk: Bytes,
    /// What is to come before the digest.
    left: u64,
    ended: bool,
    ask: Ask,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<pb::SnapshotResponse>, Status> {
        if self.chunk.is_empty() {
            if self.ended {
                return Ok(None);
            }
            let chunk = self.file.next().await.ok_or_else(|| Status::aborted(SNAPSHOT_NOT_READ))?;
            self.chunk = chunk.map_err(|error| self.ask.failed(error))?;
            self.ended = self.left == 0;
        }
        let blob = self.chunk.split_to(self.chunk.len().min(SNAPSHOT_PIECE_BYTES));
        self.left = self.left.saturating_sub(blob.len() as u64);
        Ok(Some(pb::SnapshotResponse { remaining_bytes: self.left, blob, ..Default::default() }))
    }
}

/// 32 bits of a digest, all as good as each other.
fn folded(digest: u128) -> u32 {
    let [a, b, c, d, ..] = digest.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Has another voter lead. Only the leader does that, as in etcd.
pub(super) async fn move_leader(
    api: &State,
    ask: &Ask,
    request: pb::MoveLeaderRequest,
) -> Result<pb::MoveLeaderResponse, Status> {
    let status = api.service().status();
    if status.leader != Some(status.member) {
        return Err(Known::NotLeader.into());
    }
    let target = MemberId(request.target_id);
    if target == status.member || api.service().cluster_at_hand().members.get(target).is_none() {
        return Err(Known::BadTransferee.into());
    }
    api.service().transfer_leader(&ask.call, target).await.map_err(|error| ask.failed(error))?;
    Ok(pb::MoveLeaderResponse { header: None })
}

/// Refuses every downgrade: no older version could read what is stored here.
pub(super) fn downgrade(request: &pb::DowngradeRequest) -> Result<pb::DowngradeResponse, Status> {
    match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Cancel) => Err(Known::NoDowngrade.into()),
        Ok(DowngradeAction::Validate | DowngradeAction::Enable) if is_version(&request.version) => {
            Err(Known::InvalidVersion.into())
        }
        Ok(DowngradeAction::Validate | DowngradeAction::Enable) => Err(Known::WrongVersionFormat.into()),
        Err(_) => Err(Status::unknown("unknown downgrade action")),
    }
}

/// Whether it is two or three numbers with dots between them.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text.split('.').count(), 2 | 3) && text.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_downgrade_is_promised() {
        let told = |action: DowngradeAction, version: &str| {
            let request = pb::DowngradeRequest { action: action.into(), version: version.to_owned() };
            downgrade(&request).unwrap_err().message().to_owned()
        };
        for version in ["3.4", "3.4.0", "2.3.8"] {
            assert_eq!(told(DowngradeAction::Validate, version), "etcdserver: invalid downgrade target version");
            assert_eq!(told(DowngradeAction::Enable, version), "etcdserver: invalid downgrade target version");
        }
        for version in ["", "3", "3.x", "3.4.0.1", "v3.4"] {
            assert_eq!(told(DowngradeAction::Enable, version), "etcdserver: wrong downgrade target version format");
        }
        assert_eq!(told(DowngradeAction::Cancel, ""), "etcdserver: no inflight downgrade job");
    }
}
