//! Who there is to send to, and where: the members of the table, and those that dialed this one though the table does
//! not know them yet.
//!
//! One rule tells it from the table and the connections that messages come in on ([`Table::urls`]), and is applied anew
//! whenever either has changed. So it does not matter which of them changed first. Never dials and never waits.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use super::{PeerMessage, dial};
use crate::model::limits::{MAX_PEER_ACQUAINTANCES, MAX_PEER_URLS};
use crate::model::{MemberId, Members};

/// The other members, as this one knows them or has met them.
#[derive(Debug)]
pub(super) struct Peers {
    own: MemberId,
    table: RwLock<Table>,
}

/// Another member, as one to send to.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) outbox: Arc<Outbox>,
    pub(super) urls: watch::Sender<Vec<String>>,
    pub(super) stop: CancellationToken,
}

#[derive(Debug)]
struct Table {
    own_urls: Vec<String>,
    /// As last given.
    members: Members,
    /// The connections that messages come in on: one for each member.
    incoming: BTreeMap<MemberId, Incoming>,
    outgoing: BTreeMap<MemberId, Peer>,
}

#[derive(Debug)]
struct Incoming {
    /// Where its member is, as it said itself.
    urls: Vec<String>,
    stop: CancellationToken,
}

impl Peers {
    /// Knows nobody, and where this member itself was told to be.
    pub(super) fn new(own: MemberId, own_urls: Vec<String>) -> Self {
        let table =
            Table { own_urls, members: Members::default(), incoming: BTreeMap::new(), outgoing: BTreeMap::new() };
        Self { own, table: RwLock::new(table) }
    }

    /// Where this member is, in so far as those that it dials take that from it.
    pub(super) fn own_urls(&self) -> Vec<String> {
        let table = self.table.read();
        table.own_urls.iter().filter(|url| dial::address(url).is_some()).take(MAX_PEER_URLS).cloned().collect()
    }

    /// Queues a message, and returns whether it will be sent.
    pub(super) fn push(&self, to: MemberId, message: PeerMessage) -> bool {
        self.table.read().outgoing.get(&to).is_some_and(|peer| peer.outbox.push(message))
    }

    /// Where to send to a member by another way than its queue, and how long.
    pub(super) fn way_to(&self, member: MemberId) -> Option<(Vec<String>, CancellationToken)> {
        self.table.read().outgoing.get(&member).map(|peer| (peer.urls.borrow().clone(), peer.stop.clone()))
    }

    /// Each with whether there is a connection to it.
    pub(super) fn all(&self) -> BTreeMap<MemberId, bool> {
        self.table.read().outgoing.iter().map(|(id, peer)| (*id, peer.outbox.is_open())).collect()
    }

    /// Takes over who belongs to the cluster. Whoever was removed is neither sent to nor listened to any more. `open`
    /// begins to send to a member at these URLs.
    pub(super) fn set(&self, members: &Members, mut open: impl FnMut(MemberId, Vec<String>) -> Peer) {
        let mut table = self.table.write();
        if let Some(own) = members.get(self.own) {
            table.own_urls.clone_from(&own.peer_urls);
        }
        table.incoming.retain(|from, incoming| {
            let stays = !members.was_removed(*from);
            if !stays {
                incoming.stop.cancel();
            }
            stays
        });
        table.members = members.clone();
        for id in table.ids().into_iter().filter(|id| *id != self.own) {
            table.follow(id, |urls| open(id, urls));
        }
    }

    /// Notes a connection of a member that says that it is at these URLs, and ends the one that it replaces: its member
    /// dialed anew because it had given that one up. False when the connection must end itself: its member was removed, or is
    /// one too many of those that the table does not know.
    pub(super) fn enter(
        &self,
        from: MemberId,
        urls: Vec<String>,
        stop: CancellationToken,
        open: impl FnOnce(Vec<String>) -> Peer,
    ) -> bool {
        let mut table = self.table.write();
        if table.members.was_removed(from) || !table.has_room_for(from) {
            return false;
        }
        if let Some(older) = table.incoming.insert(from, Incoming { urls, stop }) {
            older.stop.cancel();
        }
        table.follow(from, open);
        true
    }

    /// Forgets a connection that has ended by itself. One that was ended from here is not noted any more.
    pub(super) fn leave(&self, from: MemberId, stop: &CancellationToken, open: impl FnOnce(Vec<String>) -> Peer) {
        let mut table = self.table.write();
        if !stop.is_cancelled() {
            table.incoming.remove(&from);
            table.follow(from, open);
        }
    }

    /// Forgets everybody. Their tasks are told to stop elsewhere.
    pub(super) fn clear(&self) {
        let mut table = self.table.write();
        table.incoming.clear();
        table.outgoing.clear();
    }
}

impl Table {
    /// Where to send to a member, the likeliest first; `None` when it is nobody to send to. What the cluster says comes
    /// before what the member said: that is only for as long as the connection on which it did. It is of use all the same to a
    /// member that was away while the other was added, or moved: only from the other will it learn of that.
    fn urls(&self, id: MemberId) -> Option<Vec<String>> {
        let (listed, met) = (self.members.get(id), self.incoming.get(&id));
        if listed.is_none() && met.is_none() {
            return None;
        }
        let mut urls = listed.map(|member| member.peer_urls.clone()).unwrap_or_default();
        for url in met.map(|incoming| &*incoming.urls).unwrap_or_default() {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
        Some(urls)
    }

    /// Everybody for whom the rule may say something else than before.
    fn ids(&self) -> BTreeSet<MemberId> {
        let listed = self.members.iter().map(|member| member.id);
        listed.chain(self.incoming.keys().copied()).chain(self.outgoing.keys().copied()).collect()
    }

    /// Applies the rule to a member.
    fn follow(&mut self, id: MemberId, open: impl FnOnce(Vec<String>) -> Peer) {
        match (self.urls(id), self.outgoing.entry(id)) {
            (Some(urls), Entry::Vacant(place)) => {
                place.insert(open(urls));
            }
            (Some(urls), Entry::Occupied(peer)) => {
                peer.get().urls.send_if_modified(|known| {
                    let changed = *known != urls;
                    *known = urls;
                    changed
                });
            }
            (None, Entry::Occupied(peer)) => peer.remove().stop.cancel(),
            (None, Entry::Vacant(_)) => {}
        }
    }

    fn has_room_for(&self, from: MemberId) -> bool {
        let is_listed = |id| self.members.get(id).is_some();
        let others = self.incoming.keys().filter(|id| **id != from && !is_listed(**id));
        is_listed(from) || others.count() < MAX_PEER_ACQUAINTANCES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Member, MemberChange};

    const OWN: MemberId = MemberId(1);

    /// What may change; members and their URLs by number.
    #[derive(Debug, Clone)]
    enum Event {
        Add(u64, u8),
        Move(u64, u8),
        Remove(u64),
        Enter(u64, u8),
        /// Of all connections that there ever were.
        End(prop::sample::Index),
    }

    fn event() -> impl Strategy<Value = Event> {
        let (id, place) = (2..6u64, 0..3u8);
        prop_oneof![
            (id.clone(), place.clone()).prop_map(|(id, place)| Event::Add(id, place)),
            (id.clone(), place.clone()).prop_map(|(id, place)| Event::Move(id, place)),
            id.clone().prop_map(Event::Remove),
            (id, place).prop_map(|(id, place)| Event::Enter(id, place)),
            any::<prop::sample::Index>().prop_map(Event::End),
        ]
    }

    fn urls(id: u64, place: u8) -> Vec<String> {
        vec![format!("http://member-{id}-{place}:2380"), format!("http://member-{id}:2380")]
    }

    fn member(id: u64, place: u8) -> Member {
        Member::voter(MemberId(id), urls(id, place))
    }

    /// A table, and beside it what should be so.
    struct Bed {
        peers: Peers,
        opened: Vec<(MemberId, watch::Receiver<Vec<String>>, CancellationToken)>,
        members: Members,
        /// All connections that there were: of whom, from where, and whether it should be listened to.
        connections: Vec<(u64, u8, CancellationToken, bool)>,
    }

    impl Bed {
        fn new() -> Self {
            let members: Members = [member(OWN.get(), 0)].into_iter().collect();
            Self { peers: Peers::new(OWN, urls(1, 0)), opened: Vec::new(), members, connections: Vec::new() }
        }

        fn take(&mut self, event: &Event) {
            let opened = &mut self.opened;
            let mut open = |id, urls| {
                let (urls, to_dial) = watch::channel(urls);
                let stop = CancellationToken::new();
                opened.push((id, to_dial, stop.clone()));
                Peer { outbox: Arc::default(), urls, stop }
            };
            match *event {
                Event::Add(id, place) => _ = self.members.change(MemberChange::Add(member(id, place))),
                Event::Move(id, place) => {
                    if let Some(member) = self.members.get_mut(MemberId(id)) {
                        member.peer_urls = urls(id, place);
                    }
                }
                Event::Remove(id) => {
                    if self.members.change(MemberChange::Remove(MemberId(id))).is_ok() {
                        self.connections.iter_mut().filter(|it| it.0 == id).for_each(|it| it.3 = false);
                    }
                }
                Event::Enter(id, place) => {
                    let stop = CancellationToken::new();
                    let entered =
                        self.peers.enter(MemberId(id), urls(id, place), stop.clone(), |urls| open(MemberId(id), urls));
                    assert_eq!(entered, !self.members.was_removed(MemberId(id)));
                    if entered {
                        self.connections.iter_mut().filter(|it| it.0 == id).for_each(|it| it.3 = false);
                        self.connections.push((id, place, stop, true));
                    }
                }
                Event::End(which) => {
                    if !self.connections.is_empty() {
                        let at = which.index(self.connections.len());
                        let (id, _, stop, listened) = &mut self.connections[at];
                        self.peers.leave(MemberId(*id), stop, |urls| open(MemberId(*id), urls));
                        // It has ended, whether or not it was told to.
                        *listened = false;
                        stop.cancel();
                    }
                }
            }
            if matches!(event, Event::Add(..) | Event::Move(..) | Event::Remove(_)) {
                self.peers.set(&self.members, open);
            }
        }

        fn expected(&self) -> BTreeMap<MemberId, BTreeSet<String>> {
            let mut expected = BTreeMap::<_, BTreeSet<_>>::new();
            for member in self.members.iter().filter(|member| member.id != OWN) {
                expected.entry(member.id).or_default().extend(member.peer_urls.iter().cloned());
            }
            for (id, place, _, listened) in &self.connections {
                if *listened {
                    expected.entry(MemberId(*id)).or_default().extend(urls(*id, *place));
                }
            }
            expected
        }

        fn check(&mut self) {
            let live: Vec<_> = self.opened.iter().filter(|(_, _, stop)| !stop.is_cancelled()).collect();
            let sent_to = |(id, urls, _): &&(_, watch::Receiver<Vec<String>>, _)| {
                (*id, urls.borrow().iter().cloned().collect::<BTreeSet<_>>())
            };
            assert_eq!(live.iter().map(sent_to).collect::<BTreeMap<_, _>>(), self.expected());
            assert_eq!(live.len(), self.expected().len(), "a member is sent to twice");
            for (id, urls, _) in live {
                if let Some(member) = self.members.get(*id) {
                    assert!(urls.borrow().starts_with(&member.peer_urls), "what the cluster says comes first");
                }
            }
            for (_, _, stop, listened) in &self.connections {
                assert_eq!(stop.is_cancelled(), !listened);
            }
        }
    }

    proptest! {
        #[test]
        fn whoever_is_listed_or_connected_is_sent_to_once_in_whichever_order_that_changes(
            events in prop::collection::vec(event(), 0..60),
        ) {
            let mut bed = Bed::new();
            for event in &events {
                bed.take(event);
                bed.check();
            }
        }
    }

    #[test]
    fn where_nothing_changes_nobody_is_dialed_anew() {
        let mut bed = Bed::new();
        bed.take(&Event::Enter(2, 0));
        for event in [Event::Enter(2, 0), Event::Add(2, 0), Event::Enter(2, 0), Event::Add(3, 0), Event::Move(2, 0)] {
            bed.take(&event);
            assert!(!bed.opened[0].1.has_changed().unwrap(), "{event:?}");
        }
        bed.take(&Event::Move(2, 1));
        assert!(bed.opened[0].1.has_changed().unwrap());
        assert_eq!(bed.opened.len(), 2);
    }
}
