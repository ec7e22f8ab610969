//! What a member does at its first start, as a function of what it was told. Never asks anybody.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{ClusterState, DiscoveryError, Entry, Given, Source, SrvError};
use crate::model::limits::MAX_VOTERS;
use crate::model::{Member, Members};
use crate::node::{Identity, cluster_id, member_id};

/// The first start of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// This member.
    pub own: Peer,
    /// The other members of the list, in order of name.
    pub others: Vec<Peer>,
    pub start: Start,
}

/// A member as a list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// In order, as ids are computed from them. Never empty.
    pub urls: Vec<String>,
}

/// How a member comes by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The cluster begins with this list, and all ids follow from it.
    New {
        identity: Identity,
        /// All members, this one too, alike wherever they are computed. Without names: those are left out of the ids, so
        /// that nothing makes sure that two members use the same one, and with DNS they do not.
        members: Members,
    },
    /// The cluster runs: [`Plan::others`] are asked, and this member finds itself in the answer by its URLs.
    Existing,
}

/// Why what a member was told is no cluster. Each says what to do.
#[derive(Debug, Error)]
pub enum PlanError {
    #[error(
        "{setting} does not name this member: its --name is `{name}`, and the list has {listed}; give --name one of \
         them, or add the member to the list"
    )]
    NotListed { setting: &'static str, name: String, listed: String },
    #[error(
        "--initial-advertise-peer-urls is {advertised}{by_default}, but --initial-cluster says that `{name}` is at \
         {listed}; make them the same (a name that stands twice is one member with two URLs)"
    )]
    OtherUrls { name: String, advertised: String, by_default: &'static str, listed: String },
    #[error("{setting} gives the URL {url} to `{first}` and to `{second}`; each member needs URLs of its own")]
    SharedUrl { setting: &'static str, url: String, first: String, second: String },
    #[error("{setting} gives the URL {url} to `{name}` twice; name it once")]
    RepeatedUrl { setting: &'static str, url: String, name: String },
    #[error(
        "{setting} has {count} members; a cluster begins with at most {MAX_VOTERS}, since each more makes every \
         write slower: begin with fewer"
    )]
    TooMany { setting: &'static str, count: usize },
    #[error(
        "{setting} gives several members the same id, which is computed from their URLs and --initial-cluster-token; \
         choose another token"
    )]
    SameId { setting: &'static str },
    #[error(
        "--initial-cluster-state is existing, and {setting} names nobody but this member; name the members of the \
         cluster that it joins, so that they can be asked"
    )]
    NobodyToAsk { setting: &'static str },
    #[error(transparent)]
    Srv(#[from] SrvError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

impl Plan {
    /// Plans with this list, however it was come by. An empty one is this member alone.
    ///
    /// # Errors
    /// When the list contradicts itself or what else was given; what etcd refuses at its first start
    /// (`ServerConfig.VerifyBootstrap`, `VerifyJoinExisting`) is refused.
    pub fn new(given: &Given, list: &[Entry]) -> Result<Self, PlanError> {
        let setting = given.source.setting();
        let mut peers = if list.is_empty() { peers(&alone(given)) } else { peers(list) };
        check_urls(setting, list)?;
        let Some(urls) = peers.remove(&given.name) else {
            let listed = commas(peers.keys().map(|name| format!("`{name}`")));
            return Err(PlanError::NotListed { setting, name: given.name.clone(), listed });
        };
        let own = Peer { name: given.name.clone(), urls };
        let others: Vec<_> = peers.into_iter().map(|(name, urls)| Peer { name, urls }).collect();
        check_advertised(given, &own)?;
        let start = match given.state {
            ClusterState::New => begin(given, &own, &others)?,
            ClusterState::Existing if others.is_empty() => return Err(PlanError::NobodyToAsk { setting }),
            ClusterState::Existing => Start::Existing,
        };
        Ok(Self { own, others, start })
    }

    /// What an operator should hear about a cluster that may begin all the same, as a sentence for the log.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let count = self.others.len() + 1;
        let begins = matches!(self.start, Start::New { .. });
        (begins && count.is_multiple_of(2)).then(|| {
            format!(
                "the cluster begins with {count} members: it outlives the loss of {}, no more than one of {} does; an odd \
                 number is better",
                (count - 1) / 2,
                count - 1
            )
        })
    }
}

fn alone(given: &Given) -> Vec<Entry> {
    given.advertised().into_iter().map(|url| Entry { name: given.name.clone(), url }).collect()
}

/// The URLs of each member, in order, by its name.
fn peers(list: &[Entry]) -> BTreeMap<String, Vec<String>> {
    let mut peers = BTreeMap::<_, Vec<_>>::new();
    for Entry { name, url } in list.iter().collect::<BTreeSet<_>>() {
        peers.entry(name.clone()).or_default().push(url.clone());
    }
    peers
}

fn check_urls(setting: &'static str, list: &[Entry]) -> Result<(), PlanError> {
    let mut seen = BTreeMap::new();
    for Entry { name, url } in list {
        let Some(first) = seen.insert(url, name) else { continue };
        let (url, name, first) = (url.clone(), name.clone(), first.clone());
        return Err(if first == name {
            PlanError::RepeatedUrl { setting, url, name }
        } else {
            PlanError::SharedUrl { setting, url, first, second: name }
        });
    }
    Ok(())
}

/// Two settings say where this member is, and they must say the same. What DNS says was compared when it was asked, and a
/// discovery service was told by this member itself; a
/// member that joins has been told the others by `member add`, and need not say it again, as in etcd.
fn check_advertised(given: &Given, own: &Peer) -> Result<(), PlanError> {
    let unsaid = given.advertised.is_empty();
    let applies = match (&given.source, given.state) {
        (Source::Srv(_) | Source::Discovery(_), _) => false,
        (Source::List(_), ClusterState::New) => true,
        (Source::List(_), ClusterState::Existing) => !unsaid,
    };
    let advertised = given.advertised();
    if !applies || advertised.iter().collect::<BTreeSet<_>>() == own.urls.iter().collect() {
        return Ok(());
    }
    Err(PlanError::OtherUrls {
        name: own.name.clone(),
        advertised: commas(advertised),
        by_default: if unsaid { " (the default)" } else { "" },
        listed: commas(own.urls.clone()),
    })
}

fn begin(given: &Given, own: &Peer, others: &[Peer]) -> Result<Start, PlanError> {
    let setting = given.source.setting();
    let count = others.len() + 1;
    if count > MAX_VOTERS {
        return Err(PlanError::TooMany { setting, count });
    }
    let member = |peer: &Peer| Member::voter(member_id(&peer.urls, &given.token), peer.urls.clone());
    let members: Members = others.iter().chain([own]).map(member).collect();
    if members.len() != count {
        return Err(PlanError::SameId { setting });
    }
    let cluster = cluster_id(members.iter().map(|member| member.id));
    Ok(Start::New { identity: Identity { cluster, member: member_id(&own.urls, &given.token) }, members })
}

fn commas(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{DEFAULT_TOKEN, Service};

    /// `n1=http://a:1,n2=http://b:1` as entries.
    fn list(text: &str) -> Vec<Entry> {
        let entry = |part: &str| {
            let (name, url) = part.split_once('=').unwrap();
            Entry { name: name.to_owned(), url: url.to_owned() }
        };
        text.split(',').filter(|part| !part.is_empty()).map(entry).collect()
    }

    fn given(name: &str, advertised: &[&str]) -> Given {
        Given {
            name: name.to_owned(),
            advertised: advertised.iter().map(|url| (*url).to_owned()).collect(),
            source: Source::List(Vec::new()),
            state: ClusterState::New,
            token: DEFAULT_TOKEN.to_owned(),
        }
    }

    fn refused(given: &Given, text: &str) -> String {
        Plan::new(given, &list(text)).unwrap_err().to_string()
    }

    #[test]
    fn a_member_that_was_told_nothing_is_alone_with_the_ids_of_etcd() {
        let plan = Plan::new(&given("default", &[]), &[]).unwrap();
        assert!(plan.others.is_empty());
        assert_eq!(plan.own.urls, ["http://localhost:2380"]);
        let Start::New { identity, members } = plan.start else { panic!("{plan:?}") };
        assert_eq!(identity.member.to_string(), "8e9e05c52164694d");
        assert_eq!(identity.cluster.to_string(), "cdf818194e3a8c32");
        assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [identity.member]);
    }

    #[test]
    fn three_members_have_the_ids_of_three_etcds() {
        // What etcd 3.4 shows for these three.
        let ids = [
            ("http://127.0.0.17:23800", "d71cda3b26ee8e6e"),
            ("http://127.0.0.18:23800", "273418fb30419615"),
            ("http://127.0.0.19:23800", "aac575e489fd4f84"),
        ];
        let text = "n1=http://127.0.0.17:23800,n2=http://127.0.0.18:23800,n3=http://127.0.0.19:23800";
        let mut second = given("n2", &["http://127.0.0.18:23800"]);
        second.token = "token-01".to_owned();
        let plan = Plan::new(&second, &list(text)).unwrap();
        let Start::New { identity, members } = plan.start else { panic!("{plan:?}") };
        assert_eq!(identity.cluster.to_string(), "c80ca3b437769582");
        assert_eq!(identity.member.to_string(), ids[1].1);
        let found: Vec<_> = members.iter().map(|member| (member.peer_urls.concat(), member.id.to_string())).collect();
        for (url, id) in ids {
            assert!(found.contains(&(url.to_owned(), id.to_owned())), "{url}: {found:?}");
        }
        assert_eq!(members.conf_state().voters.len(), 3);
    }

    #[test]
    fn a_member_with_several_urls_may_name_them_in_any_order() {
        let text = "n1=http://b:1,n2=http://c:1,n1=http://a:1";
        let plan = Plan::new(&given("n1", &["http://a:1", "http://b:1"]), &list(text)).unwrap();
        assert_eq!(plan.own.urls, ["http://a:1", "http://b:1"]);
        let turned = "n1=http://a:1,n1=http://b:1,n2=http://c:1";
        assert_eq!(Plan::new(&given("n1", &["http://b:1", "http://a:1"]), &list(turned)).unwrap(), plan);
    }

    #[test]
    fn all_members_plan_the_same_cluster_whatever_they_call_each_other() {
        let one = Plan::new(&given("n1", &["http://a:1"]), &list("n1=http://a:1,n2=http://b:1,n3=http://c:1")).unwrap();
        let two = Plan::new(&given("me", &["http://b:1"]), &list("0=http://a:1,me=http://b:1,1=http://c:1")).unwrap();
        let (Start::New { identity: first, members }, Start::New { identity: second, members: same }) =
            (one.start, two.start)
        else {
            panic!("both begin a cluster")
        };
        assert_eq!(members, same);
        assert_eq!(first.cluster, second.cluster);
        assert_ne!(first.member, second.member);
    }

    #[test]
    fn a_member_that_joins_knows_whom_to_ask_and_not_its_id() {
        let mut joining = given("n3", &[]);
        joining.state = ClusterState::Existing;
        let plan = Plan::new(&joining, &list("n1=http://a:1,n2=http://b:1,n3=http://c:1,n3=http://d:1")).unwrap();
        assert_eq!(plan.start, Start::Existing);
        assert_eq!(plan.own.urls, ["http://c:1", "http://d:1"]);
        let asked: Vec<_> = plan.others.iter().map(|peer| (peer.name.as_str(), peer.urls.concat())).collect();
        assert_eq!(asked, [("n1", "http://a:1".to_owned()), ("n2", "http://b:1".to_owned())]);
        assert_eq!(plan.warning(), None);
    }

    #[test]
    fn a_list_that_makes_no_cluster_is_refused_with_what_to_change() {
        let three = "n1=http://a:1,n2=http://b:1,n3=http://c:1";
        let eight: Vec<_> = (1..=8).map(|n| format!("n{n}=http://h{n}:1")).collect();
        for (given, text, parts) in [
            (given("x", &["http://a:1"]), three, ["--initial-cluster does not name", "`x`", "`n1`, `n2`, `n3`"]),
            (given("n1", &[]), three, ["is http://localhost:2380 (the default), but", "`n1`", "http://a:1;"]),
            (given("n1", &["http://b:1"]), three, ["--initial-advertise-peer-urls is http://b:1, but", "`n1`", "a:1"]),
            (
                given("n1", &["http://a:1"]),
                "n1=http://a:1,n1=http://b:1",
                ["is http://a:1, but", "http://a:1, http://b:1;", "stands twice"],
            ),
            (
                given("n1", &["http://a:1"]),
                "n1=http://a:1,n2=http://a:1",
                ["--initial-cluster gives the URL http://a:1", "`n1`", "`n2`"],
            ),
            (given("n1", &["http://a:1"]), "n1=http://a:1,n1=http://a:1", ["http://a:1", "`n1` twice", "once"]),
            (given("n1", &["http://h1:1"]), &eight.join(","), ["has 8 members", "at most 7", "begin with fewer"]),
        ] {
            let error = refused(&given, text);
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn a_member_cannot_join_itself_nor_under_urls_that_it_denies() {
        let mut joining = given("n1", &["http://a:1"]);
        joining.state = ClusterState::Existing;
        for text in ["", "n1=http://a:1"] {
            assert!(refused(&joining, text).contains("names nobody but this member"), "{text}");
        }
        let error = refused(&joining, "n1=http://b:1,n2=http://c:1");
        assert!(error.starts_with("--initial-advertise-peer-urls is http://a:1, but"), "{error}");
    }

    #[test]
    fn a_list_from_dns_is_blamed_on_dns_and_has_its_own_urls() {
        let mut found = given("n1", &["http://127.0.0.1:1"]);
        found.source = Source::Srv(Service { domain: "example.org".to_owned(), name: String::new() });
        assert!(Plan::new(&found, &list("n1=http://a.example.org:1,0=http://b.example.org:1")).is_ok());
        assert!(refused(&found, "0=http://a.example.org:1").starts_with("--discovery-srv does not name this member"));
    }

    #[test]
    fn an_even_number_of_members_is_warned_of() {
        let warning = |text: &str| Plan::new(&given("n1", &["http://a:1"]), &list(text)).unwrap().warning();
        assert_eq!(warning("n1=http://a:1"), None);
        assert_eq!(warning("n1=http://a:1,n2=http://b:1,n3=http://c:1"), None);
        let text = warning("n1=http://a:1,n2=http://b:1").unwrap();
        assert!(text.contains("with 2 members: it outlives the loss of 0, no more than one of 1 does"), "{text}");
    }
}
