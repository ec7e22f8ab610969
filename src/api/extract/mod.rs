//! Reading requests: strictly, and with an answer that names what is wrong.
//!
//! Everything here turns text into model types or a [`Problem`](super::problem::Problem). It knows nothing of the
//! service and decides nothing about the state.

pub mod body;
pub mod conditions;
pub mod duration;
pub mod json;
pub mod path;
pub mod query;

pub use body::{Body, idempotency};
pub use conditions::{ConditionQuery, Tags, condition, refuse_conditions};
pub use path::{Target, Verb, target};
pub use query::{Parameters, query};
