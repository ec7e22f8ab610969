//! How a member comes into a cluster that runs: it asks the others who the members are, and finds in the answer which of
//! them it is itself. Never decides who is a member: that was done when this one was added.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::model::{ClusterId, MemberId};
use crate::node::{ConnectionError, Identity, KnownMembers, ask_members};

/// How often the others are asked, and for how long.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Between two times.
    pause: Duration,
    /// While some answer, but none names this member: one that lags behind may not know it yet.
    unnamed: Duration,
    /// While nobody answers: they may be starting as well.
    unanswered: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(1), unnamed: Duration::from_secs(10), unanswered: Duration::from_secs(30) }
    }
}

/// Why a member cannot join. Each says what to do.
#[derive(Debug, Error)]
pub enum JoinError {
    #[error(
        "the cluster was asked, and none of its members has exactly the peer URLs {own}: they are at {known}; first add this \
         one, by `vardr member add NAME --peer-urls {own}`, or correct its URLs in --initial-cluster"
    )]
    NotAdded { own: String, known: String },
    #[error(
        "no member that --initial-cluster or --discovery-srv names says who the members are; see that one of them runs and can be \
         reached from here: {}",
        reasons(.0)
    )]
    NobodyAnswers(BTreeMap<String, String>),
    #[error(
        "member {id} is the one with the peer URLs {own}, and it had data that is gone: it cannot come back under its id; \
         remove it, by `vardr member remove {id}`, and add it anew"
    )]
    LostData { id: MemberId, own: String },
    #[error(
        "{one_url} is of cluster {one}, and {other_url} of cluster {other}: name the members of the cluster that this one is \
         to join, and no others"
    )]
    TwoClusters { one_url: String, one: ClusterId, other_url: String, other: ClusterId },
}

/// Who said what, by the URL at which it was asked.
#[derive(Debug, Default)]
struct Answers {
    known: BTreeMap<String, KnownMembers>,
    failed: BTreeMap<String, String>,
}

/// Asks the other members of a plan which member this one is, over and over: for 30 s while nobody answers, for 10 s while
/// nobody names it.
///
/// # Errors
/// When it is none of the members, or one that cannot come back.
pub async fn join(plan: &Plan) -> Result<Identity, JoinError> {
    let ask = |url: String| async move { ask_members(&url).await };
    join_by(plan, Patience::default(), ask).await
}

async fn join_by<F>(plan: &Plan, patience: Patience, ask: impl Fn(String) -> F) -> Result<Identity, JoinError>
where
    F: Future<Output = Result<Option<KnownMembers>, ConnectionError>>,
{
    let own = plan.own.urls.join(",");
    let begun = Instant::now();
    let mut known = None;
    loop {
        let answers = ask_all(plan, &ask).await;
        if let Some(identity) = choose(&plan.own.urls, &answers.known)? {
            tracing::info!(member = %identity.member, cluster = %identity.cluster, "this member has been added to the cluster");
            return Ok(identity);
        }
        known = newest(&answers.known).map(|(_, newest)| newest.clone()).or(known);
        let waited = begun.elapsed();
        match &known {
            Some(KnownMembers { members, .. }) if waited >= patience.unnamed => {
                let urls: Vec<_> = members.iter().flat_map(|member| member.peer_urls.clone()).collect();
                return Err(JoinError::NotAdded { own, known: urls.join(",") });
            }
            Some(_) => tracing::info!("waiting for a member with the peer URLs {own} to be added to the cluster"),
            None if waited >= patience.unanswered => return Err(JoinError::NobodyAnswers(answers.failed)),
            None => tracing::info!("waiting for a member that says who the members are: {}", reasons(&answers.failed)),
        }
        sleep(patience.pause).await;
    }
}

/// Asks everybody at once.
async fn ask_all<F>(plan: &Plan, ask: impl Fn(String) -> F) -> Answers
where
    F: Future<Output = Result<Option<KnownMembers>, ConnectionError>>,
{
    let urls = plan.others.iter().flat_map(|other| &other.urls);
    let asked = urls.map(|url| {
        let answer = ask(url.clone());
        async move { (url.clone(), answer.await) }
    });
    let mut answers = Answers::default();
    for (url, answer) in join_all(asked).await {
        match answer {
            Ok(Some(known)) => _ = answers.known.insert(url, known),
            Ok(None) => _ = answers.failed.insert(url, "it does not know yet itself".to_owned()),
            Err(error) => _ = answers.failed.insert(url, error.to_string()),
        }
    }
    answers
}

/// The member with these URLs. The answer that follows from the most entries counts: what an older one says besides has been
/// changed since. `None` where it names no such member.
fn choose(own: &[String], known: &BTreeMap<String, KnownMembers>) -> Result<Option<Identity>, JoinError> {
    let Some((url, newest)) = newest(known) else { return Ok(None) };
    if let Some((other_url, other)) = known.iter().find(|(_, other)| other.cluster != newest.cluster) {
        let (one_url, other_url) = (url.clone(), other_url.clone());
        return Err(JoinError::TwoClusters { one_url, one: newest.cluster, other_url, other: other.cluster });
    }
    match newest.members.iter().find(|member| member.is_at(own)) {
        None => Ok(None),
        // It has said which life its data is in, and there is none here.
        Some(member) if member.incarnation.is_some() => Err(JoinError::LostData { id: member.id, own: own.join(",") }),
        Some(member) => Ok(Some(Identity { cluster: newest.cluster, member: member.id })),
    }
}

fn newest(known: &BTreeMap<String, KnownMembers>) -> Option<(&String, &KnownMembers)> {
    known.iter().max_by_key(|(_, known)| known.applied)
}

fn reasons(failed: &BTreeMap<String, String>) -> String {
    failed.iter().map(|(url, reason)| format!("{url}: {reason}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cluster::{Peer, Start};
    use crate::model::{Incarnation, Index, Member, MemberChange, Members};

    const CLUSTER: ClusterId = ClusterId(0xc1);
    const OWN: [&str; 2] = ["http://d:1", "http://d:2"];

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    fn member(id: u64, peer_urls: &[&str]) -> Member {
        Member::voter(MemberId(id), urls(peer_urls))
    }

    /// What a member that has applied so much says, of itself and these.
    fn says(applied: u64, others: impl IntoIterator<Item = Member>) -> KnownMembers {
        let members = [member(1, &["http://a:1"])].into_iter().chain(others).collect();
        KnownMembers { cluster: CLUSTER, applied: Index(applied), members }
    }

    fn chosen<const N: usize>(answers: [(&str, KnownMembers); N]) -> Result<Option<u64>, String> {
        let answers = answers.into_iter().map(|(url, known)| (url.to_owned(), known)).collect();
        let chosen = choose(&urls(&OWN), &answers).map_err(|error| error.to_string())?;
        Ok(chosen.map(|identity| {
            assert_eq!(identity.cluster, CLUSTER);
            identity.member.get()
        }))
    }

    #[test]
    fn a_member_is_the_one_with_exactly_its_urls_in_any_order() {
        assert_eq!(chosen([("http://a:1", says(5, [member(7, &["http://d:2", "http://d:1"])]))]), Ok(Some(7)));
        for other in [&["http://d:1"][..], &["http://d:1", "http://d:2", "http://d:3"], &[]] {
            assert_eq!(chosen([("http://a:1", says(5, [member(7, other)]))]), Ok(None), "{other:?}");
        }
        assert_eq!(chosen([]), Ok(None));
    }

    #[test]
    fn who_has_applied_more_knows_better() {
        let unaware = || says(5, []);
        let aware = |applied| says(applied, [member(7, &OWN)]);
        assert_eq!(chosen([("http://a:1", unaware()), ("http://b:1", aware(9))]), Ok(Some(7)));
        let mut removed = says(9, []);
        let members = [member(1, &["http://a:1"]), member(7, &OWN)];
        removed.members = members.into_iter().collect::<Members>();
        removed.members.change(MemberChange::Remove(MemberId(7))).unwrap();
        assert_eq!(chosen([("http://a:1", removed.clone()), ("http://b:1", aware(5))]), Ok(None));
        removed.members.change(MemberChange::Add(member(8, &OWN))).unwrap();
        assert_eq!(chosen([("http://a:1", removed), ("http://b:1", aware(5))]), Ok(Some(8)));
    }

    #[test]
    fn a_member_whose_data_is_gone_is_told_to_be_removed_and_added_anew() {
        let begun = Member { incarnation: Some(Incarnation(3)), ..member(0x1f, &OWN) };
        let error = chosen([("http://a:1", says(5, [begun]))]).unwrap_err();
        assert!(error.contains("`vardr member remove 1f`"), "{error}");
    }

    #[test]
    fn members_of_two_clusters_are_not_asked_together() {
        let stranger = KnownMembers { cluster: ClusterId(0xee), ..says(3, [member(7, &OWN)]) };
        let error = chosen([("http://a:1", says(5, [member(7, &OWN)])), ("http://b:1", stranger)]).unwrap_err();
        assert!(error.starts_with("http://a:1 is of cluster c1, and http://b:1 of cluster ee"), "{error}");
    }

    fn plan() -> Plan {
        let peer = |name: &str, at: &[&str]| Peer { name: name.to_owned(), urls: urls(at) };
        let others = vec![peer("a", &["http://a:1"]), peer("b", &["http://b:1", "http://b:2"])];
        Plan { own: peer("d", &OWN), others, start: Start::Existing }
    }

    /// Joins with little patience, where each URL answers like this in this round.
    async fn joined(
        answer: impl Fn(usize, &str) -> Result<Option<KnownMembers>, ConnectionError>,
    ) -> (Result<Identity, JoinError>, usize) {
        let patience = Patience {
            pause: Duration::from_millis(1),
            unnamed: Duration::from_millis(500),
            unanswered: Duration::from_secs(1),
        };
        let asked = AtomicUsize::new(0);
        let result = join_by(&plan(), patience, |url| {
            // Three URLs a round.
            let round = asked.fetch_add(1, Ordering::SeqCst) / 3;
            let answer = answer(round, &url);
            async move { answer }
        })
        .await;
        (result, asked.into_inner())
    }

    #[tokio::test]
    async fn everybody_is_asked_at_every_url_until_somebody_names_this_member() {
        let (result, asked) = joined(|round, url| match (round, url) {
            (0, _) => Err(ConnectionError::Closed),
            (1, "http://b:2") => Ok(None),
            (1, _) | (2, "http://a:1") => Ok(Some(says(5, []))),
            (2, "http://b:2") => Ok(Some(says(6, [member(7, &OWN)]))),
            (_, _) => Err(ConnectionError::Silent),
        })
        .await;
        assert_eq!(result.unwrap(), Identity { cluster: CLUSTER, member: MemberId(7) });
        assert_eq!(asked, 9);
    }

    #[tokio::test]
    async fn a_member_that_was_not_added_is_told_how_to_be() {
        let (result, asked) = joined(|round, url| match (round, url) {
            (0, "http://a:1") => Ok(Some(says(5, [member(2, &["http://b:1"])]))),
            (_, _) => Err(ConnectionError::Closed),
        })
        .await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("they are at http://a:1,http://b:1;"), "{error}");
        assert!(error.contains("`vardr member add NAME --peer-urls http://d:1,http://d:2`"), "{error}");
        assert!(asked > 3, "it was asked once");
    }

    #[tokio::test]
    async fn where_nobody_answers_each_url_is_named_with_the_reason() {
        let (result, _) =
            joined(|_, url| if url == "http://a:1" { Ok(None) } else { Err(ConnectionError::Silent) }).await;
        let error = result.unwrap_err().to_string();
        let reasons =
            "http://a:1: it does not know yet itself; http://b:1: it gives no answer; http://b:2: it gives no answer";
        assert!(error.ends_with(reasons), "{error}");
    }
}
