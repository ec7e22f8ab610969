//! Clients that want nothing of a member that hears of no leader: `WithRequireLeader` of etcd's Go client.

use futures_util::{Stream, StreamExt as _, stream};
use http::HeaderMap;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::Status;

use super::errors::Known;
use super::grpc::Answers;
use crate::api::State;

/// What such a client sends, and its value.
const HAS_LEADER: (&str, &str) = ("hasleader", "true");
/// At so many looks in a row, an election timeout apart, there is no leader before a stream ends, as in etcd.
const MAX_MISSED: u32 = 3;

/// Whether a request is to be answered only where there is a leader.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let (name, value) = HAS_LEADER;
    headers.get(name).is_some_and(|found| found == value)
}

/// Answers that end with `etcdserver: no leader` once there has been none for a while, where their client wants that.
pub(super) fn while_led<T: Send + 'static>(
    api: &State,
    is_wanted: bool,
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Answers<T> {
    let answers: Answers<T> = Box::pin(answers);
    if !is_wanted {
        return answers;
    }
    let lost = Box::pin(leader_is_lost(api.clone()));
    Box::pin(stream::unfold(Some((answers, lost)), |state| async move {
        let (mut answers, mut lost) = state?;
        tokio::select! {
            answer = answers.next() => answer.map(|answer| (answer, Some((answers, lost)))),
            () = &mut lost => Some((Err(Known::NoLeader.into()), None)),
        }
    }))
}

/// Waits until there has been no leader for a while.
async fn leader_is_lost(api: State) {
    let every = api.settings().election_timeout;
    let mut looks = interval_at(Instant::now() + every, every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    while missed < MAX_MISSED {
        looks.tick().await;
        missed = if api.service().has_leader() { 0 } else { missed + 1 };
    }
}
