//! Claims about a replica: one alone first, then three that pass messages in memory.

mod cluster;

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};

use cluster::{Chance, Cluster, Faults};

use super::membership::CAUGHT_UP_ENTRIES;
use super::{
    ChangeRefusal, Config, Input, MembershipChange, Message, Output, Position, ProposeRefusal, Recovered, Replica,
    Role, StartError,
};
use crate::model::{ConfState, HardState, Incarnation, Index, LogEntry, LogEntryKind, MemberId, Term};

fn voters(ids: &[u64]) -> ConfState {
    ConfState { voters: ids.iter().copied().map(MemberId).collect(), learners: Vec::new() }
}

fn config(member: u64) -> Config {
    Config::new(MemberId(member), Incarnation(1), 7)
}

fn position(index: u64, term: u64) -> Position {
    Position { index: Index(index), term: Term(term) }
}

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index: Index(index), term: Term(term), kind: LogEntryKind::Normal, data: Bytes::from_static(b"x") }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: MemberId(1), commit: Index(commit) }
}

/// A lone voter that has persisted and applied the entry that opens its term.
fn lone() -> Replica {
    let mut replica = Replica::new(config(1), Recovered { conf_state: voters(&[1]), ..Recovered::default() }).unwrap();
    let number = replica.poll().persist.unwrap().number;
    let output = replica.handle(Input::Persisted { number });
    assert_eq!(output.commit.len(), 1);
    assert!(replica.handle(Input::Applied { index: Index(1) }).is_empty());
    replica
}

fn propose(replica: &mut Replica, token: u64) -> Output {
    replica.handle(Input::Propose { token, data: Bytes::from_static(b"data") })
}

#[test]
fn a_lone_voter_leads_without_a_tick() {
    let mut replica = Replica::new(config(1), Recovered { conf_state: voters(&[1]), ..Recovered::default() }).unwrap();
    let output = replica.poll();
    assert_eq!(output.status.unwrap().role, Role::Leader);
    let persist = output.persist.unwrap();
    assert_eq!(persist.hard_state.unwrap().vote, MemberId(1));
    assert_eq!(persist.entries.len(), 1);
    assert!(output.commit.is_empty());
}

#[test]
fn an_only_voter_says_nothing_of_a_term_that_its_disk_does_not_know() {
    let conf_state = ConfState { voters: vec![MemberId(1)], learners: vec![MemberId(2)] };
    let mut replica = Replica::new(config(1), Recovered { conf_state, ..Recovered::default() }).unwrap();
    let begun = replica.poll();
    assert_eq!(begun.status.unwrap().role, Role::Leader);
    assert!(begun.send.is_empty(), "{:?}", begun.send);
    let more = propose(&mut replica, 10);
    assert!(more.send.is_empty(), "{:?}", more.send);
    let output = replica.handle(Input::Persisted { number: begun.persist.unwrap().number });
    assert!(!output.send.is_empty());
}

#[test]
fn nothing_is_committed_before_it_is_persisted() {
    let mut replica = lone();
    let first = propose(&mut replica, 10);
    assert_eq!(first.proposed, vec![(10, Ok(position(2, 1)))]);
    assert!(first.commit.is_empty());
    let second = propose(&mut replica, 11);
    assert!(second.commit.is_empty());
    let output = replica.handle(Input::Persisted { number: first.persist.unwrap().number });
    assert_eq!(output.commit.iter().map(|entry| entry.index.get()).collect::<Vec<_>>(), vec![2]);
    let output = replica.handle(Input::Persisted { number: second.persist.unwrap().number });
    assert_eq!(output.commit.iter().map(|entry| entry.index.get()).collect::<Vec<_>>(), vec![3]);
    assert!(output.persist.is_none());
}

#[test]
fn a_follower_refuses_a_proposal_and_says_so() {
    let mut replica =
        Replica::new(config(1), Recovered { conf_state: voters(&[1, 2, 3]), ..Recovered::default() }).unwrap();
    let output = propose(&mut replica, 1);
    assert_eq!(output.proposed, vec![(1, Err(ProposeRefusal::NotLeader { leader: None }))]);
}

#[test]
fn what_was_applied_counts_as_committed_at_start() {
    let recovered = Recovered {
        hard_state: hard_state(1, 1),
        entries: vec![entry(1, 1), entry(2, 1), entry(3, 1)],
        applied: position(2, 1),
        conf_state: voters(&[1]),
        ..Recovered::default()
    };
    let mut replica = Replica::new(config(1), recovered).unwrap();
    assert_eq!(replica.committed(), Index(2));
    let number = replica.poll().persist.unwrap().number;
    let output = replica.handle(Input::Persisted { number });
    assert_eq!(output.commit.iter().map(|entry| entry.index.get()).collect::<Vec<_>>(), vec![3, 4]);
}

#[test]
fn a_state_that_contradicts_itself_does_not_start() {
    let start = |recovered: Recovered| Replica::new(config(1), recovered).unwrap_err();
    let recovered = Recovered {
        hard_state: hard_state(1, 1),
        entries: vec![entry(5, 1), entry(6, 1)],
        applied: position(6, 1),
        conf_state: voters(&[1]),
        ..Recovered::default()
    };
    assert!(Replica::new(config(1), recovered.clone()).is_ok());
    assert!(matches!(
        start(Recovered { applied: position(3, 1), ..recovered.clone() }),
        StartError::AppliedBeforeLog { .. }
    ));
    assert!(matches!(
        start(Recovered { applied: position(7, 1), ..recovered.clone() }),
        StartError::AppliedBeyondLog { .. }
    ));
    assert!(matches!(start(Recovered { applied: position(6, 2), ..recovered.clone() }), StartError::Diverged { .. }));
    assert!(matches!(
        start(Recovered { hard_state: hard_state(1, 7), ..recovered.clone() }),
        StartError::CommitBeyondLog { .. }
    ));
    assert!(matches!(
        start(Recovered { hard_state: HardState::default(), ..recovered.clone() }),
        StartError::TermBehindLog { .. }
    ));
    assert!(matches!(
        start(Recovered { entries: vec![entry(5, 1), entry(7, 1)], ..recovered }),
        StartError::Gap { .. }
    ));
}

#[test]
fn proposals_that_came_together_travel_in_one_batch() {
    let mut replica = lone();
    for token in 0..10 {
        replica.step(Input::Propose { token, data: Bytes::from_static(b"data") });
    }
    let output = replica.poll();
    assert_eq!(output.proposed.len(), 10);
    let persist = output.persist.unwrap();
    assert_eq!(persist.entries.len(), 10);
    assert_eq!(replica.handle(Input::Persisted { number: persist.number }).commit.len(), 10);
}

#[test]
fn a_commit_index_alone_is_not_written_but_travels_with_the_next_batch() {
    let mut replica = lone();
    let number = propose(&mut replica, 1).persist.unwrap().number;
    assert!(replica.handle(Input::Persisted { number }).persist.is_none());
    let persist = propose(&mut replica, 2).persist.unwrap();
    assert_eq!(persist.hard_state.unwrap().commit, Index(2));
}

#[test]
fn a_payload_is_shared_all_the_way() {
    let mut replica = lone();
    let data = Bytes::from(vec![7; 1000]);
    let output = replica.handle(Input::Propose { token: 1, data: data.clone() });
    let persist = output.persist.unwrap();
    assert_eq!(persist.entries[0].data.as_ptr(), data.as_ptr());
    let output = replica.handle(Input::Persisted { number: persist.number });
    assert_eq!(output.commit[0].data.as_ptr(), data.as_ptr());
}

#[test]
fn a_read_waits_for_the_leaders_first_commit_and_then_covers_it() {
    let mut replica = Replica::new(config(1), Recovered { conf_state: voters(&[1]), ..Recovered::default() }).unwrap();
    let number = replica.poll().persist.unwrap().number;
    let output = replica.handle(Input::Read { context: 1 });
    assert!(output.reads.is_empty() && output.dropped_reads.is_empty());
    assert_eq!(replica.handle(Input::Persisted { number }).reads, vec![(1, Index(1))]);
    assert_eq!(replica.handle(Input::Read { context: 2 }).reads, vec![(2, Index(1))]);
}

#[test]
fn a_read_context_is_never_used_twice() {
    let mut replica = lone();
    assert_eq!(replica.handle(Input::Read { context: 5 }).reads, vec![(5, Index(1))]);
    for context in [5, 4] {
        let output = replica.handle(Input::Read { context });
        assert_eq!((output.reads, output.dropped_reads), (vec![], vec![context]));
    }
}

#[test]
fn a_member_that_has_lost_its_log_learns_it_from_a_heartbeat() {
    let recovered = Recovered { conf_state: voters(&[1, 2, 3]), ..Recovered::default() };
    let mut replica = Replica::new(config(1), recovered).unwrap();
    let heartbeat = |commit| {
        let mut message = eraftpb::Message { from: 2, to: 1, term: 1, commit, ..eraftpb::Message::default() };
        message.set_msg_type(eraftpb::MessageType::MsgHeartbeat);
        Input::Message(Message(message))
    };
    assert!(!replica.handle(heartbeat(0)).log_lost);
    assert!(replica.handle(heartbeat(1)).log_lost);
    assert!(!replica.handle(heartbeat(0)).log_lost);
}

#[test]
fn a_learner_that_hears_nothing_of_its_leader_has_none() {
    let conf_state = ConfState { voters: vec![MemberId(2)], learners: vec![MemberId(1)] };
    let mut replica = Replica::new(config(1), Recovered { conf_state, ..Recovered::default() }).unwrap();
    let mut heartbeat = eraftpb::Message { from: 2, to: 1, term: 1, ..Default::default() };
    heartbeat.set_msg_type(eraftpb::MessageType::MsgHeartbeat);
    for _ in 0..2 {
        replica.handle(Input::Message(Message(heartbeat.clone())));
        assert_eq!(replica.status().leader, Some(MemberId(2)));
        let ticks = (1..=100).find(|_| {
            replica.handle(Input::Tick);
            replica.status().leader.is_none()
        });
        assert_eq!(ticks, Some(config(1).election_ticks));
    }
}

#[test]
fn truncation_stops_at_what_is_applied() {
    let mut replica = lone();
    let number = propose(&mut replica, 1).persist.unwrap().number;
    replica.handle(Input::Persisted { number });
    replica.truncate(Index(2));
    assert_eq!(replica.first_index(), Index(2));
    replica.handle(Input::Applied { index: Index(2) });
    replica.truncate(Index(2));
    assert_eq!(replica.first_index(), Index(3));
    let number = propose(&mut replica, 2).persist.unwrap().number;
    assert_eq!(replica.handle(Input::Persisted { number }).commit.len(), 1);
}

#[test]
fn a_truncated_log_starts_again() {
    for applied in [4, 5, 6] {
        let recovered = Recovered {
            hard_state: hard_state(2, 4),
            entries: vec![entry(5, 2), entry(6, 2)],
            applied: position(applied, if applied == 4 { 1 } else { 2 }),
            conf_state: voters(&[1]),
            ..Recovered::default()
        };
        let mut replica = Replica::new(config(1), recovered).unwrap();
        let number = replica.poll().persist.unwrap().number;
        let commit = replica.handle(Input::Persisted { number }).commit;
        let indexes: Vec<u64> = commit.iter().map(|entry| entry.index.get()).collect();
        assert_eq!(indexes, (applied + 1..=7).collect::<Vec<_>>());
    }
}

#[test]
fn a_log_that_follows_a_snapshot_starts_empty() {
    let recovered = Recovered {
        hard_state: hard_state(3, 9),
        snapshot: Some(position(9, 3)),
        applied: position(9, 3),
        conf_state: voters(&[1]),
        ..Recovered::default()
    };
    let mut replica = Replica::new(config(1), recovered).unwrap();
    let persist = replica.poll().persist.unwrap();
    assert_eq!(Position::from(&persist.entries[0]), position(10, 4));
}

#[test]
fn a_long_log_is_handed_out_in_pieces() {
    let mut replica = lone();
    let data = Bytes::from(vec![0; 1024 * 1024]);
    for token in 0..100 {
        replica.step(Input::Propose { token, data: data.clone() });
    }
    let number = replica.poll().persist.unwrap().number;
    let first = replica.handle(Input::Persisted { number }).commit;
    assert_eq!(first.len(), 32);
    let mut last = first.last().unwrap().index;
    while last < replica.last_index() {
        let next = replica.handle(Input::Applied { index: last }).commit;
        assert!((1..=32).contains(&next.len()));
        assert_eq!(next[0].index, last.next());
        last = next.last().unwrap().index;
    }
}

#[test]
fn too_much_uncommitted_is_refused() {
    let mut replica = lone();
    let data = Bytes::from(vec![0; 1024 * 1024]);
    let answers: Vec<_> = (0..130)
        .flat_map(|token| replica.handle(Input::Propose { token, data: data.clone() }).proposed)
        .map(|(_, answer)| answer)
        .collect();
    assert!(answers[..128].iter().all(Result::is_ok));
    assert_eq!(answers[128..], [Err(ProposeRefusal::Overloaded); 2]);
}

#[test]
fn three_elect_a_leader_and_apply_alike() {
    let mut cluster = Cluster::new(3, 1);
    let leader = cluster.elect();
    for token in 0..20 {
        cluster.propose(leader, token).unwrap();
    }
    cluster.rounds(3);
    for id in cluster.ids() {
        assert_eq!(cluster.applied(id), cluster.applied(leader));
        assert!(cluster.has_applied(id, 19));
    }
}

#[test]
fn a_follower_says_nothing_before_its_disk_has_it() {
    let mut leader =
        Replica::new(config(1), Recovered { conf_state: voters(&[1, 2]), ..Recovered::default() }).unwrap();
    let mut follower =
        Replica::new(config(2), Recovered { conf_state: voters(&[1, 2]), ..Recovered::default() }).unwrap();
    let mut entries_seen = 0;
    let mut to_follower = Vec::new();
    for _ in 0..100 {
        let output = leader.handle(Input::Tick);
        to_follower.extend(output.send);
        if let Some(persist) = output.persist {
            to_follower.extend(leader.handle(Input::Persisted { number: persist.number }).send);
        }
        while let Some((_, message)) = to_follower.pop() {
            let output = follower.handle(Input::Message(message));
            let mut answers = output.send;
            if let Some(persist) = output.persist {
                entries_seen += persist.entries.len();
                assert!(answers.is_empty(), "spoke before persisting: {answers:?}");
                answers = follower.handle(Input::Persisted { number: persist.number }).send;
                assert!(!answers.is_empty());
            }
            for (_, answer) in answers {
                let output = leader.handle(Input::Message(answer));
                to_follower.extend(output.send);
                if let Some(persist) = output.persist {
                    to_follower.extend(leader.handle(Input::Persisted { number: persist.number }).send);
                }
            }
        }
    }
    assert!(entries_seen > 0);
}

#[test]
fn a_lost_leader_is_replaced_and_nothing_committed_is_lost() {
    let mut cluster = Cluster::new(3, 2);
    let leader = cluster.elect();
    cluster.propose(leader, 1).unwrap();
    cluster.rounds(2);
    cluster.crash(leader);
    let next = cluster.elect();
    assert_ne!(next, leader);
    cluster.propose(next, 2).unwrap();
    cluster.rounds(2);
    cluster.start(leader);
    cluster.rounds(5);
    for id in cluster.ids() {
        assert!(cluster.has_applied(id, 1) && cluster.has_applied(id, 2));
    }
}

#[test]
fn a_leader_cut_off_steps_down_and_its_proposal_is_seen_to_be_lost() {
    let mut cluster = Cluster::new(3, 3);
    let leader = cluster.elect();
    cluster.isolate(leader);
    let place = cluster.propose(leader, 1).unwrap();
    cluster.step(leader, Input::Read { context: 1 });
    cluster.rounds(60);
    assert!(cluster.read(leader, 1).is_none() && cluster.read_was_dropped(leader, 1));
    assert!(matches!(cluster.propose(leader, 2), Err(ProposeRefusal::NotLeader { .. })));
    cluster.heal();
    let next = cluster.elect();
    assert_ne!(next, leader);
    cluster.propose(next, 3).unwrap();
    cluster.rounds(5);
    let there = cluster.applied(leader).iter().find(|entry| entry.index == place.index).unwrap();
    assert_ne!(there.term, place.term);
    assert!(!cluster.has_applied(leader, 1));
}

#[test]
fn a_follower_reads_what_was_committed_before_it_asked() {
    let mut cluster = Cluster::new(3, 4);
    let leader = cluster.elect();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let place = cluster.propose(leader, 1).unwrap();
    cluster.deliver();
    cluster.step(follower, Input::Read { context: 1 });
    cluster.deliver();
    assert!(cluster.read(follower, 1).unwrap() >= place.index);
}

#[test]
fn a_read_whose_messages_are_lost_ends_as_dropped() {
    let mut cluster = Cluster::new(3, 5);
    let leader = cluster.elect();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.cut_one_way(follower, leader);
    cluster.step(follower, Input::Read { context: 1 });
    cluster.rounds(11);
    assert!(cluster.read_was_dropped(follower, 1));
}

#[test]
fn leadership_is_handed_over_and_proposals_are_refused_meanwhile() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    let heir = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.step(leader, Input::Transfer { to: MemberId(heir) });
    assert_eq!(cluster.propose(leader, 1), Err(ProposeRefusal::Transferring));
    cluster.deliver();
    assert_eq!(cluster.leader(), Some(heir));
}

#[test]
fn nobody_hands_over_to_a_voter_that_is_silent_or_far_behind() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    let heir = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.isolate(heir);
    cluster.rounds(config(heir).election_ticks);
    cluster.step(leader, Input::Transfer { to: MemberId(heir) });
    assert!(cluster.propose(leader, 1).is_ok(), "it is silent");
    for token in 2..=2 + CAUGHT_UP_ENTRIES {
        cluster.propose(leader, token).unwrap();
        cluster.deliver();
    }
    cluster.heal();
    // It answers heartbeats, and what it lacks is not with it yet.
    cluster.step(leader, Input::Tick);
    let mut message = eraftpb::Message { from: heir, to: leader, term: 1, ..Default::default() };
    message.set_msg_type(eraftpb::MessageType::MsgHeartbeatResponse);
    message.term = cluster.replica(leader).status().term.get();
    cluster.step(leader, Input::Message(Message(message)));
    cluster.step(leader, Input::Transfer { to: MemberId(heir) });
    assert!(cluster.propose(leader, 1000).is_ok(), "it is far behind");
    cluster.rounds(3);
    cluster.step(leader, Input::Transfer { to: MemberId(heir) });
    cluster.deliver();
    assert_eq!(cluster.leader(), Some(heir));
}

#[test]
fn who_is_removed_hears_of_it_once_the_leaders_disk_knows() {
    let mut cluster = Cluster::new(2, 6);
    let leader = cluster.elect();
    cluster.rounds(2);
    let other = 3 - leader;
    // Both have the entry, and the leader does not hear of it.
    cluster.cut_one_way(other, leader);
    let change = remove(&mut cluster, leader, other).unwrap().index;
    cluster.deliver();
    cluster.heal();
    cluster.faults.slow_disk = 100;
    cluster.rounds(2);
    assert_eq!(cluster.replica(leader).committed(), change);
    assert!(cluster.replica(other).committed() < change);
    cluster.faults.slow_disk = 0;
    cluster.rounds(2);
    assert_eq!(cluster.replica(other).committed(), change);
    cluster.crash(leader);
    cluster.start(leader);
    assert_eq!(cluster.replica(leader).committed(), change);
}

#[test]
fn what_raft_would_panic_over_is_passed_over() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.propose(leader, 1).unwrap();
    cluster.deliver();
    let term = cluster.replica(leader).status().term.get();
    let last = cluster.replica(follower).last_index().get();
    let read = eraftpb::Message {
        from: follower,
        to: leader,
        term,
        msg_type: MessageType::MsgReadIndex,
        ..Default::default()
    };
    cluster.step(leader, Input::Message(Message(read)));
    for index in [last - 1, last, last + 2, u64::MAX] {
        let entries = vec![eraftpb::Entry { index, term, ..Default::default() }];
        let msg_type = MessageType::MsgAppend;
        let mut append = eraftpb::Message {
            from: leader,
            to: follower,
            term,
            index: last,
            log_term: term,
            msg_type,
            ..Default::default()
        };
        append.set_entries(entries.into());
        cluster.step(follower, Input::Message(Message(append)));
    }
    cluster.propose(leader, 2).unwrap();
    cluster.rounds(2);
    assert_eq!(cluster.replica(follower).last_index().get(), last + 1);
}

/// A log that waits for nobody but those that a snapshot is sent to, and for them with 500 bytes.
fn impatient(member: u64) -> Config {
    Config { kept_entries: 0, kept_bytes: 0, catch_up_bytes: 500, ..config(member) }
}

/// A cluster with a member that was sent a snapshot, its leader, that member, and where the snapshot ends.
fn sending() -> (Cluster, u64, u64, Index) {
    let mut cluster = Cluster::with(3, 8, impatient);
    let leader = cluster.elect();
    let away = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.isolate(away);
    propose_in_all(&mut cluster, leader, 10);
    let end = cluster.replica(leader).committed();
    assert_eq!(cluster.replica(leader).truncate(end), end);
    let position = Position { index: end, term: cluster.replica(leader).status().term };
    cluster.heal();
    cluster.round();
    cluster.step(leader, Input::SnapshotOffered { to: MemberId(away), position, conf_state: voters(&[1, 2, 3]) });
    cluster.rounds(2);
    assert!(cluster.trace.iter().any(|line| line.contains("MsgSnapshot")), "{:#?}", cluster.trace);
    (cluster, leader, away, end)
}

fn propose_in_all(cluster: &mut Cluster, leader: u64, count: u64) {
    for _ in 0..count {
        let token = 1 + cluster.answers.len() as u64;
        cluster.propose(leader, token).unwrap();
        cluster.deliver();
    }
}

#[test]
fn the_log_waits_for_who_is_sent_a_snapshot_until_it_has_caught_up() {
    let (mut cluster, leader, away, end) = sending();
    propose_in_all(&mut cluster, leader, 20);
    let last = cluster.replica(leader).committed();
    assert_eq!(cluster.replica(leader).truncate(last), end, "the snapshot is on its way");
    cluster.step(leader, Input::SnapshotReported { member: MemberId(away), delivered: true });
    assert_eq!(cluster.replica(leader).truncate(last), end, "what follows on it is not there yet");
    let mut message = eraftpb::Message { from: away, to: leader, index: last.get(), ..Default::default() };
    message.set_msg_type(eraftpb::MessageType::MsgAppendResponse);
    message.term = cluster.replica(leader).status().term.get();
    cluster.step(leader, Input::Message(Message(message)));
    assert_eq!(cluster.replica(leader).truncate(last), last);
}

#[test]
fn the_log_waits_for_no_snapshot_that_does_not_arrive_nor_beyond_its_bound() {
    let (mut cluster, leader, away, end) = sending();
    propose_in_all(&mut cluster, leader, 20);
    let last = cluster.replica(leader).committed();
    cluster.step(leader, Input::SnapshotReported { member: MemberId(away), delivered: false });
    assert_eq!(cluster.replica(leader).truncate(last), last);
    let (mut cluster, leader, _, _) = sending();
    propose_in_all(&mut cluster, leader, 60);
    let last = cluster.replica(leader).committed();
    let begin = cluster.replica(leader).truncate(last);
    assert!(begin > end && begin < last, "{begin} of {last}");
}

fn remove(cluster: &mut Cluster, leader: u64, id: u64) -> Result<Position, ProposeRefusal> {
    let change = MembershipChange::Remove(MemberId(id));
    let token = 1 + cluster.answers.len() as u64;
    cluster.step(leader, Input::ChangeMembership { token, change, data: Bytes::new() });
    cluster.answers[&token]
}

#[test]
fn a_leader_that_is_to_remove_itself_hands_over_first() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    assert_eq!(remove(&mut cluster, leader, leader), Err(ProposeRefusal::Transferring));
    cluster.deliver();
    let next = cluster.leader().unwrap();
    assert_ne!(next, leader);
    // What the one before it may have begun must be applied first.
    cluster.rounds(2);
    assert!(remove(&mut cluster, next, leader).is_ok());
}

#[test]
fn a_new_leader_does_not_take_those_for_silent_that_had_no_reason_to_speak() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    cluster.rounds(2);
    let heir = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let other = cluster.ids().into_iter().find(|id| *id != leader && *id != heir).unwrap();
    cluster.crash(other);
    cluster.step(leader, Input::Transfer { to: MemberId(heir) });
    cluster.deliver();
    assert_eq!(cluster.leader(), Some(heir));
    cluster.rounds(2);
    assert_eq!(remove(&mut cluster, heir, leader), Err(ProposeRefusal::ChangeLater));
    cluster.rounds(10);
    let at_risk = ChangeRefusal::QuorumAtRisk { voters: 2, heard: 1, needed: 2 };
    assert_eq!(remove(&mut cluster, heir, leader), Err(ProposeRefusal::Refused(at_risk)));
}

#[test]
fn a_change_that_would_leave_no_majority_is_refused_before_it_is_an_entry() {
    let mut cluster = Cluster::new(3, 6);
    let leader = cluster.elect();
    cluster.rounds(2);
    let [dead, other] = [1, 2, 3].into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..] else {
        panic!("three members")
    };
    assert!(
        remove(&mut cluster, dead, other).is_err_and(|refusal| matches!(refusal, ProposeRefusal::NotLeader { .. }))
    );
    cluster.crash(dead);
    cluster.rounds(10);
    let refusal = ChangeRefusal::QuorumAtRisk { voters: 2, heard: 1, needed: 2 };
    assert_eq!(remove(&mut cluster, leader, other), Err(ProposeRefusal::Refused(refusal)));
    assert!(remove(&mut cluster, leader, dead).is_ok());
    assert_eq!(remove(&mut cluster, leader, dead), Err(ProposeRefusal::ChangeLater));
}

/// One run under every fault, then heal and demand progress. Returns its trace.
fn storm(seed: u64) -> Vec<String> {
    let mut cluster = Cluster::new(3, seed);
    cluster.faults = Faults { lose: 5, repeat: 5, delay: 20, slow_disk: 90 };
    let mut token = 0;
    for _ in 0..150 {
        let (id, other) = (1 + cluster.chance.next() % 3, 1 + cluster.chance.next() % 3);
        match cluster.chance.below(20) {
            0..=2 if cluster.is_up(id) => cluster.crash(id),
            0..=2 => cluster.start(id),
            3 => cluster.isolate(id),
            4 => cluster.cut_one_way(id, other),
            5 | 6 => {
                let faults = cluster.faults;
                cluster.heal();
                cluster.faults = faults;
            }
            7 => cluster.step(id, Input::Transfer { to: MemberId(other) }),
            8 => cluster.step(id, Input::Read { context: token }),
            _ => {
                token += 1;
                cluster.step(id, Input::Propose { token, data: Bytes::from(format!("proposal {token}")) });
            }
        }
        cluster.round();
    }
    cluster.heal();
    for id in cluster.ids() {
        if !cluster.is_up(id) {
            cluster.start(id);
        }
    }
    cluster.rounds(30);
    let leader = cluster.elect();
    cluster.propose(leader, 1_000_000).unwrap();
    cluster.rounds(5);
    for id in cluster.ids() {
        assert!(cluster.has_applied(id, 1_000_000), "no progress after the storm of seed {seed}");
        assert_eq!(cluster.applied(id).last().unwrap().index, cluster.committed());
    }
    cluster.trace
}

#[test]
fn storms_leave_one_log_and_progress() {
    for seed in 0..60 {
        storm(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 100..105 {
        assert_eq!(storm(seed), storm(seed));
    }
    assert_ne!(storm(100), storm(101));
}

#[test]
fn election_timeouts_differ_by_member_and_term() {
    let mut chance = Chance(1);
    let seed = chance.next();
    let draws: std::collections::BTreeSet<Vec<usize>> = (1..=5)
        .map(|member| {
            let config = Config { seed, ..config(member) };
            (1..=20).map(|term| super::replica::election_timeout(&config, Term(term))).collect()
        })
        .collect();
    assert_eq!(draws.len(), 5);
    assert!(draws.iter().flatten().all(|timeout| (10..20).contains(timeout)));
    assert!(draws.iter().all(|draws| draws.iter().any(|timeout| timeout != &draws[0])));
}
