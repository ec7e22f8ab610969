//! Planted bugs: what Vardr is asked, or what it says, is bent into what a member with the bug would have said.
//!
//! A bug in the server itself would have to ship a switch for it; here nothing of what ships knows.

use tonic::{Code, Status};

use super::call::{Call, Reply};
use super::streams::Told;
use crate::pb;
use pb::range_request::SortTarget;
use pb::watch_create_request::FilterType;

/// What is wrong with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A deletion of several keys tells of the first alone what it was.
    PrevKvsCutShort,
    /// A list that is in an order of its own does not say that there is more.
    MoreForgotten,
    /// Keys in the order in which they were created are in that in which they were changed.
    CreateTakenForMod,
    /// A watch without puts tells of puts.
    NoPutIgnored,
    /// A transaction that reads a revision that is compacted says that it is one to come.
    CompactedTakenForFuture,
    /// In JSON, a count is a number.
    CountAsNumber,
    /// The header of what a watch is told of is that of a member that is behind.
    HeaderBehind,
}

impl Bug {
    pub(crate) const ALL: [Self; 7] = [
        Self::PrevKvsCutShort,
        Self::MoreForgotten,
        Self::CreateTakenForMod,
        Self::NoPutIgnored,
        Self::CompactedTakenForFuture,
        Self::CountAsNumber,
        Self::HeaderBehind,
    ];

    /// Bends what is asked.
    pub(crate) fn ask(self, call: &mut Call) {
        if let Call::Range(request) = call
            && self == Self::CreateTakenForMod
            && request.sort_target() == SortTarget::Create
        {
            request.set_sort_target(SortTarget::Mod);
        }
    }

    /// Bends what is watched.
    pub(crate) fn watch(self, request: &mut pb::WatchCreateRequest) {
        if self == Self::NoPutIgnored {
            request.filters.retain(|filter| *filter != i32::from(FilterType::Noput));
        }
    }

    /// Bends what a watch is told.
    pub(crate) fn told(self, told: &mut Told) {
        if self == Self::HeaderBehind {
            told.revision -= 1;
        }
    }

    /// Bends an answer over gRPC.
    pub(crate) fn answer(self, call: &Call, answer: &mut Result<Reply, Status>) {
        match (self, call, answer) {
            (Self::PrevKvsCutShort, _, Ok(Reply::DeleteRange(answer))) => answer.prev_kvs.truncate(1),
            (Self::MoreForgotten, Call::Range(request), Ok(Reply::Range(answer))) => {
                answer.more &= request.sort_order == 0;
            }
            (Self::CompactedTakenForFuture, Call::Txn(_), Err(status)) if status.message().contains("compacted") => {
                *status = Status::new(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
            }
            _ => {}
        }
    }

    /// Bends an answer in JSON.
    pub(crate) fn body(self, body: &mut String) {
        if self == Self::CountAsNumber
            && let Some((before, after)) = body.rsplit_once("\"count\":\"")
            && let Some((count, after)) = after.split_once('"')
        {
            *body = format!("{before}\"count\":{count}{after}");
        }
    }
}
