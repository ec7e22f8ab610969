//! Users and roles: looking at them, changing them, and what is kept of a password.
//!
//! Nobody has to sign in yet: what stands here is stored, and not enforced.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::{Call, Consistency, Done, Error, Service};
use crate::model::limits::{MAX_HASHING, MAX_HASHING_WAITING, MAX_PASSWORD_BYTES};
use crate::model::{Auth, AuthChange, Command, PasswordHash};

/// How much work it is to make a hash, and to try a password by it: etcd's default of `--bcrypt-cost`.
const COST: u32 = 10;

/// The places of those whose passwords are hashed.
#[derive(Debug)]
pub(super) struct Hashing {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { waiting: places(MAX_HASHING_WAITING), working: places(MAX_HASHING) }
    }
}

impl Hashing {
    /// A place to work at, and the one in the queue that goes with it.
    async fn place(&self, call: &Call) -> Result<[OwnedSemaphorePermit; 2], Error> {
        let full = |_| Error::Overloaded("too many passwords are being hashed; try again shortly");
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(full)?;
        let working = timeout_at(call.deadline.into(), Arc::clone(&self.working).acquire_owned()).await;
        // Nobody closes it.
        let working = working.map_err(|_| Error::DeadlineExceeded)?.map_err(|_| Error::ShuttingDown)?;
        Ok([waiting, working])
    }
}

impl Service {
    /// All users and roles at one moment.
    ///
    /// # Errors
    /// As [`Service::reader`].
    pub async fn auth(&self, call: &Call, consistency: Consistency) -> Result<Arc<Auth>, Error> {
        let reader = self.reader(call, consistency).await?;
        Ok(Arc::clone(&reader.published.auth))
    }

    /// Changes users or roles.
    ///
    /// # Errors
    /// As [`Service::write`].
    pub async fn change_auth(&self, call: &Call, change: AuthChange) -> Result<Done, Error> {
        self.write(call, Command::ChangeAuth(change)).await
    }

    /// What is to be kept of a password. Takes some 50 ms of a processor, on purpose.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where it has more than [`MAX_PASSWORD_BYTES`]; [`Error::Overloaded`] where
    /// [`MAX_HASHING_WAITING`] are being hashed; [`Error::DeadlineExceeded`].
    pub async fn hash_password(&self, call: &Call, password: &str) -> Result<PasswordHash, Error> {
        if password.len() > MAX_PASSWORD_BYTES {
            let actual = password.len();
            return Err(Error::InvalidArgument(format!(
                "a password of {actual} bytes; at most {MAX_PASSWORD_BYTES} are allowed"
            )));
        }
        let place = self.0.hashing.place(call).await?;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || {
            // Kept until it is done, also where nobody waits for it any more.
            let _place = place;
            bcrypt::hash(password, COST)
        });
        match hashed.await {
            Ok(Ok(hash)) => Ok(PasswordHash::new(hash)),
            Ok(Err(error)) => Err(Error::Storage(format!("a password could not be hashed: {error}").into())),
            Err(error) => Err(Error::Storage(format!("the hashing of a password was cut off: {error}").into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn call(patience: Duration) -> Call {
        Call::new(Instant::now() + patience)
    }

    #[tokio::test]
    async fn few_passwords_are_hashed_at_once_and_few_wait() {
        let hashing = Hashing::default();
        let long = call(Duration::from_mins(1));
        let mut working = Vec::new();
        for _ in 0..MAX_HASHING {
            working.push(hashing.place(&long).await.unwrap());
        }
        assert_eq!(hashing.place(&call(Duration::ZERO)).await.unwrap_err(), Error::DeadlineExceeded);
        let free = u32::try_from(MAX_HASHING_WAITING - MAX_HASHING).unwrap();
        let others = Arc::clone(&hashing.waiting).try_acquire_many_owned(free).unwrap();
        assert!(matches!(hashing.place(&long).await, Err(Error::Overloaded(_))));
        drop(others);
        working.pop();
        drop(hashing.place(&long).await.unwrap());
    }

    #[test]
    fn passwords_are_tried_by_what_is_kept_here_and_by_what_etcd_keeps() {
        let own = bcrypt::hash("pass", COST).unwrap();
        let etcds = "$2a$10$xvv5VOXL6.AMSpAuXRPkGO8Mj9NGnGr7Wy2LM1ADIwF4ZoVCiN3tS";
        for hash in [own.as_str(), etcds] {
            assert!(bcrypt::verify("pass", hash).unwrap() && !bcrypt::verify("past", hash).unwrap(), "{hash}");
        }
        // Every byte that is allowed counts.
        let long = "p".repeat(MAX_PASSWORD_BYTES);
        assert!(!bcrypt::verify(&long[1..], &bcrypt::hash(&long, 4).unwrap()).unwrap());
    }
}
