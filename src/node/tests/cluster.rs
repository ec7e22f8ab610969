//! Three members in one process, over real sockets and real files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU8;

use tokio::net::TcpListener;

use super::*;
use crate::machine::content_digest;

/// Addresses that nobody else uses: on a port that is never given to whoever asks for any, so that it is still free when a
/// member starts anew.
async fn addresses(count: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    loop {
        let (second, third) = (192 + std::process::id() % 60, NEXT.fetch_add(1, Ordering::Relaxed));
        let address = |number| format!("127.{second}.{third}.{}:2380", number + 1).parse::<SocketAddr>().unwrap();
        let addresses: Vec<_> = (0..count).map(address).collect();
        if TcpListener::bind(addresses[0]).await.is_ok() {
            return addresses;
        }
    }
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

/// A cluster whose members have begun, or will.
struct Cluster {
    dir: tempfile::TempDir,
    members: Members,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Members of a new cluster, none of them started.
    async fn new(size: usize) -> Self {
        let addresses = addresses(size).await;
        let members = addresses.iter().map(|address| {
            let peer_urls = vec![format!("http://{address}")];
            Member::voter(member_id(&peer_urls, "test"), peer_urls)
        });
        let members = members.collect();
        let nodes = (0..size).map(|_| None).collect();
        Self { dir: tempfile::tempdir().unwrap(), members, addresses, nodes }
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    fn id(&self, number: usize) -> MemberId {
        member_id(&[format!("http://{}", self.addresses[number])], "test")
    }

    async fn start(&mut self, number: usize) {
        self.start_as(number, Beginning::New(self.members.clone())).await;
    }

    async fn start_as(&mut self, number: usize, beginning: Beginning) {
        let listener = TcpListener::bind(self.addresses[number]).await.unwrap();
        let peer_urls = vec![format!("http://{}", self.addresses[number])];
        let member = self.id(number);
        let cluster = cluster_id(self.members.iter().map(|member| member.id));
        let options = Options {
            data_dir: self.data_dir(number),
            identity: Some(Identity { cluster, member }),
            peer_urls,
            name: format!("n{number}"),
            client_urls: vec![format!("http://client-{number}")],
            beginning,
            checkpoint_entries: 200,
            ..options(Path::new("/"))
        };
        let node = tokio::task::spawn_blocking(move || Node::start(&options, Metrics::new(), vec![listener]));
        self.nodes[number] = Some(node.await.unwrap().unwrap());
    }

    async fn start_all(&mut self) {
        for number in 0..self.nodes.len() {
            self.start(number).await;
        }
    }

    async fn stop(&mut self, number: usize) {
        let node = self.nodes[number].take().unwrap();
        tokio::task::spawn_blocking(move || node.stop()).await.unwrap();
    }

    fn handle(&self, number: usize) -> NodeHandle {
        self.nodes[number].as_ref().unwrap().handle()
    }

    async fn put(&self, number: usize, name: &str, value: &str) -> Reply {
        let command = put(name, value, Attach::Detach);
        self.handle(number).propose(command, None, None, soon()).await.unwrap()
    }

    async fn value(&self, number: usize, name: &str) -> Option<Vec<u8>> {
        let published = self.handle(number).linearizable(soon()).await.unwrap();
        published.view.get(name.as_bytes(), None).unwrap().map(|record| record.value.to_vec())
    }

    /// The content of every member, once all are as far as the first.
    async fn digests(&self) -> Vec<u128> {
        let mut digests = Vec::new();
        for node in self.nodes.iter().flatten() {
            let published = node.handle().linearizable(soon()).await.unwrap();
            digests.push(content_digest(&published.view).unwrap());
        }
        digests
    }

    fn leader(&self) -> Option<usize> {
        let leader = self.nodes.iter().flatten().find_map(|node| node.handle().leader())?;
        self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.handle().identity().member == leader))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_takes_writes_and_sees_what_was_acknowledged_by_any() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    for round in 0..10 {
        for number in 0..3 {
            let value = format!("{round} {number}");
            cluster.put(number, "/k", &value).await;
            for reader in 0..3 {
                assert_eq!(cluster.value(reader, "/k").await.unwrap(), value.as_bytes());
            }
        }
    }
    let digests = cluster.digests().await;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_learns_how_the_others_are_called() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    let says_all = |node: &Node| {
        let members = &node.handle().latest().members;
        members.iter().all(|member| !member.name.is_empty() && !member.client_urls.is_empty())
    };
    until(|| cluster.nodes.iter().flatten().all(says_all)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_without_their_leader_and_it_catches_up_from_the_log() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    cluster.put(0, "/k", "before").await;
    let leader = cluster.leader().unwrap();
    cluster.stop(leader).await;
    let other = (leader + 1) % 3;
    for number in 0..20 {
        cluster.put(other, "/k", &number.to_string()).await;
    }
    cluster.start(leader).await;
    assert_eq!(cluster.value(leader, "/k").await.unwrap(), b"19");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_the_log_does_not_reach_any_more_gets_a_snapshot() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    cluster.put(0, "/before", "v").await;
    let leader = cluster.leader().unwrap();
    let late = (leader + 1) % 3;
    cluster.stop(late).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let handle = cluster.handle(leader);
            tokio::spawn(async move {
                for number in 0..1500 {
                    let command = put(&format!("/k/{writer}/{}", number % 100), &number.to_string(), Attach::Detach);
                    handle.propose(command, None, None, soon()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.start(late).await;
    assert_eq!(cluster.value(late, "/k/7/99").await.unwrap(), b"1499");
    let digests = cluster.digests().await;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    let stores = std::fs::read_dir(cluster.data_dir(late)).unwrap();
    let names: Vec<_> = stores.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.matches('-').count() == 3), "no store came with a snapshot: {names:?}");
    cluster.stop(late).await;
    cluster.start(late).await;
    cluster.put(late, "/after", "v").await;
    assert_eq!(cluster.value(late, "/before").await.unwrap(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_a_write_is_refused_at_its_deadline_and_never_applied() {
    let mut cluster = Cluster::new(3).await;
    cluster.start(0).await;
    let short = Instant::now() + Duration::from_millis(300);
    let refused = cluster.handle(0).propose(put("/k", "never", Attach::Detach), None, None, short).await;
    assert_eq!(refused, Err(ProposeError::NoLeader));
    cluster.start(1).await;
    cluster.put(1, "/other", "v").await;
    assert_eq!(cluster.value(0, "/k").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_data_does_not_come_back_under_its_id() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    let knows_all = |node: &Node| node.handle().latest().members.iter().all(|member| member.incarnation.is_some());
    until(|| cluster.nodes.iter().flatten().all(knows_all)).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    cluster.start(2).await;
    let reason = tokio::time::timeout_at(soon().into(), cluster.handle(2).failure_signal()).await.unwrap();
    assert!(reason.contains("it has lost what it promised"), "{reason}");
    cluster.put(0, "/k", "v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_has_handed_over() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    for number in 0..3 {
        cluster.put(number, "/k", "v").await;
    }
    let leader = cluster.leader().unwrap();
    cluster.stop(leader).await;
    let leads = |node: &Node| node.handle().leader() == Some(node.handle().identity().member);
    assert!(cluster.nodes.iter().flatten().any(leads), "nobody leads where the leader has stopped");
}

/// Asks a member to change the members. The change itself may take more than one try of its leader.
async fn change(cluster: &Cluster, number: usize, change: MemberChange) -> Result<Reply, ProposeError> {
    cluster.handle(number).propose(Command::ChangeMember(change), None, None, soon()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_is_asked_to_remove_the_leader_which_hands_over_first() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    cluster.put(0, "/k", "v").await;
    let leader = cluster.leader().unwrap();
    let id = cluster.handle(leader).identity().member;
    let asked = (leader + 1) % 3;
    let deadline = soon();
    let reply = loop {
        match change(&cluster, asked, MemberChange::Remove(id)).await {
            // A machine with much to do may leave a member silent for as long as counts here, a tenth of a second.
            Err(ProposeError::Refused(ChangeRefusal::QuorumAtRisk { .. })) => assert!(Instant::now() < deadline),
            answer => break answer.unwrap(),
        }
    };
    assert!(matches!(&reply.result, Ok(Outcome::Member(member)) if member.id == id), "{reply:?}");
    let reason = tokio::time::timeout_at(soon().into(), cluster.handle(leader).failure_signal()).await.unwrap();
    assert!(reason.contains("removed"), "{reason}");
    cluster.put(asked, "/k", "after").await;
    assert_eq!(cluster.value((leader + 2) % 3, "/k").await.unwrap(), b"after");
    let again = change(&cluster, asked, MemberChange::Remove(id)).await.unwrap();
    assert_eq!(again.result, Err(Refusal::MemberNotFound(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_would_leave_no_majority_is_refused_whoever_is_asked() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    cluster.put(0, "/k", "v").await;
    let leader = cluster.leader().unwrap();
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let (dead_id, other_id) = (cluster.handle(dead).identity().member, cluster.handle(other).identity().member);
    // Who was heard of, and for some seconds is no more, is silent for raft too.
    until(|| cluster.handle(leader).reports().len() == 3).await;
    cluster.stop(dead).await;
    until(|| cluster.handle(leader).reports().len() == 2).await;
    let at_risk = ProposeError::Refused(ChangeRefusal::QuorumAtRisk { voters: 2, heard: 1, needed: 2 });
    for asked in [leader, other] {
        assert_eq!(change(&cluster, asked, MemberChange::Remove(other_id)).await, Err(at_risk.clone()));
    }
    let reply = change(&cluster, other, MemberChange::Remove(dead_id)).await.unwrap();
    assert!(reply.result.is_ok(), "a dead member is removed: {reply:?}");
    cluster.put(other, "/k", "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_whoever_is_named_from_any_member() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    cluster.put(0, "/k", "v").await;
    for to in 0..3 {
        let id = cluster.handle(to).identity().member;
        let asked = cluster.handle((to + 1) % 3);
        asked.transfer(id, soon()).await.unwrap();
        assert_eq!(asked.leader(), Some(id));
        cluster.put((to + 2) % 3, "/k", "v").await;
    }
    let nobody = cluster.handle(0).transfer(MemberId(1), Instant::now() + Duration::from_millis(100)).await;
    assert_eq!(nobody, Err(TransferError::NotTaken));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_hears_how_the_others_are_and_of_their_silence() {
    let mut cluster = Cluster::new(3).await;
    cluster.start_all().await;
    let revision = cluster.put(0, "/k", "v").await.revision;
    let heard_by = |number| cluster.handle(number).reports().into_values().filter(|it| it.revision >= revision).count();
    until(|| (0..3).all(|number| heard_by(number) == 3)).await;
    cluster.stop(2).await;
    until(|| cluster.handle(0).reports().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_follows_a_leader_that_was_added_while_it_was_away() {
    let mut cluster = Cluster::new(3).await;
    // The first is down; the last does not know the second, without which there is no majority.
    let (added, away) = (1, 2);
    let id = cluster.id(added);
    let as_it_left = cluster.members.iter().filter(|member| member.id != id).cloned().collect();
    cluster.start_as(away, Beginning::New(as_it_left)).await;
    cluster.start(added).await;
    cluster.put(added, "/k", "v").await;
    cluster.put(away, "/forwarded", "v").await;
    assert_eq!(cluster.value(away, "/k").await.unwrap(), b"v");
    assert_eq!(cluster.handle(away).leader(), Some(id));
    assert!(cluster.handle(away).latest().members.get(id).is_none(), "it knew it all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_joins_gets_its_state_from_a_leader_that_nobody_told_it_of() {
    let mut cluster = Cluster::new(3).await;
    let joining = 2;
    let id = cluster.id(joining);
    cluster.members.get_mut(id).unwrap().learner = true;
    // It may be killed before its first state has come.
    for _ in 0..2 {
        cluster.start_as(joining, Beginning::Join { others: Vec::new() }).await;
        let short = Instant::now() + Duration::from_millis(100);
        assert_eq!(cluster.handle(joining).linearizable(short).await.unwrap_err(), ReadError::NoLeader);
        assert!(cluster.handle(joining).latest().members.is_empty());
        cluster.stop(joining).await;
    }
    cluster.start(0).await;
    cluster.start(1).await;
    cluster.put(0, "/k", "v").await;
    cluster.start_as(joining, Beginning::Join { others: Vec::new() }).await;
    assert_eq!(cluster.value(joining, "/k").await.unwrap(), b"v");
    cluster.put(joining, "/forwarded", "v").await;
    let digests = cluster.digests().await;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    cluster.stop(joining).await;
    cluster.start_as(joining, Beginning::Join { others: Vec::new() }).await;
    assert_eq!(cluster.value(joining, "/forwarded").await.unwrap(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_whose_leader_is_gone_has_none_and_refuses_reads_for_it() {
    let mut cluster = Cluster::new(2).await;
    let learner = 1;
    let id = cluster.id(learner);
    cluster.members.get_mut(id).unwrap().learner = true;
    cluster.start_all().await;
    cluster.put(0, "/k", "v").await;
    assert_eq!(cluster.value(learner, "/k").await.unwrap(), b"v");
    assert_eq!(cluster.handle(learner).leader(), Some(cluster.id(0)));
    cluster.stop(0).await;
    until(|| cluster.handle(learner).leader().is_none()).await;
    let short = Instant::now() + Duration::from_millis(100);
    assert_eq!(cluster.handle(learner).linearizable(short).await.unwrap_err(), ReadError::NoLeader);
    cluster.start(0).await;
    assert_eq!(cluster.value(learner, "/k").await.unwrap(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_says_who_the_members_are_once_it_has_a_state() {
    let mut cluster = Cluster::new(2).await;
    cluster.start_as(1, Beginning::Join { others: Vec::new() }).await;
    let url = |number: usize| format!("http://{}", cluster.addresses[number]);
    let (knowing, joining) = (url(0), url(1));
    assert_eq!(ask_members(&joining).await.unwrap(), None);
    cluster.start(0).await;
    let known = ask_members(&knowing).await.unwrap().unwrap();
    assert_eq!(known.cluster, cluster.handle(0).identity().cluster);
    let urls = |members: &Members| members.iter().map(|member| member.peer_urls.clone()).collect::<Vec<_>>();
    assert_eq!(urls(&known.members), urls(&cluster.members));
    assert!(known.applied >= Index(1));
}
