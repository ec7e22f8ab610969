//! `vardr lock`: a command that runs while a lock is held.

use serde_json::Map;

use super::args::Lock;
use super::client::Client;
use super::exit::Outcome;
use super::output::Output;
use super::queue::{Face, Queue, Stay};

pub(crate) const LOCK: Face =
    Face { what: "the lock", base: "/v1/locks", place: "holder", variables: ["VARDR_LOCK_NAME", "VARDR_LOCK_HOLDER"] };

pub(crate) async fn lock(client: &Client, out: &Output, args: &Lock) -> Outcome<()> {
    let mut says = Map::new();
    if let Some(owner) = &args.owner {
        says.insert("owner".to_owned(), owner.as_str().into());
    }
    let stay = Stay { terms: args.terms, says, grace: args.grace, command: &args.command };
    Queue { face: &LOCK, name: &args.name }.stay(client, out, stay).await
}
