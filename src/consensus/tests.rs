//! Claims about a replica: one alone first, then three that pass messages in memory.

use bytes::Bytes;

use super::{Config, Input, Output, Position, ProposeRefusal, Recovered, Replica, Role, StartError};
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
