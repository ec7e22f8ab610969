//! A member that the cluster has added, and that has no state yet. The leader is to dial it; should it be removed before that has
//! come about, nobody does, and there is nobody whom it would dial itself. So it asks.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;

use super::runner::{Event, Runner};
use super::transport::ask_members;
use super::{Dismissal, Shared};

/// How often those that the settings name are asked.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// Asks those at these peer URLs whether this member was removed, until it has a state or ends, and stops it if it was. What is
/// removed stays removed: whoever says so is right, however little else it knows.
pub(super) async fn ask_until_it_has_a_state(shared: Weak<Shared>, runner: Weak<Runner>, others: Vec<String>) {
    let waits = || shared.upgrade().filter(|shared| !shared.failed() && shared.members().is_empty());
    loop {
        sleep(ASK_EVERY).await;
        let Some(identity) = waits().map(|shared| shared.identity) else { return };
        for url in &others {
            let Ok(Some(known)) = ask_members(url).await else { continue };
            if known.cluster == identity.cluster && known.members.was_removed(identity.member) {
                if let (Some(shared), Some(runner)) = (waits(), runner.upgrade()) {
                    shared.dismiss(&Dismissal::Removed);
                    // A member that has stopped is told nothing more.
                    let _ = runner.handle(Event::Stop);
                }
                return;
            }
        }
        tracing::info!("waiting for the leader, which is to dial this member and to send it the state");
    }
}
