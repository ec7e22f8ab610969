//! The health service of gRPC, as load balancers and orchestrators probe it. What it says is what `/readyz` says.

use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;

use super::methods::is_service;
use super::pb::health as pb;
use super::pb::health::health_check_response::ServingStatus;
use crate::api::State;

/// How often a watched status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How the server, or a service of it, is.
pub(super) fn check(api: &State, request: &pb::HealthCheckRequest) -> Result<pb::HealthCheckResponse, Status> {
    match status(api, &request.service) {
        ServingStatus::ServiceUnknown => Err(Status::not_found("unknown service")),
        status => Ok(response(status)),
    }
}

/// The same, and again each time that it changes, until the server stops.
pub(super) fn watch(
    api: State,
    request: pb::HealthCheckRequest,
) -> impl Stream<Item = Result<pb::HealthCheckResponse, Status>> + Send + 'static {
    let stopping = Box::pin(api.service().shutdown_signal());
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = (api, request.service, ticks, stopping, None::<ServingStatus>);
    stream::unfold(Some(begun), |watch| async move {
        let (api, service, mut ticks, mut stopping, told) = watch?;
        loop {
            tokio::select! {
                () = &mut stopping => return Some((Ok(response(ServingStatus::NotServing)), None)),
                _ = ticks.tick() => {}
            }
            let now = status(&api, &service);
            if told != Some(now) {
                return Some((Ok(response(now)), Some((api, service, ticks, stopping, Some(now)))));
            }
        }
    })
}

fn status(api: &State, service: &str) -> ServingStatus {
    if !service.is_empty() && !is_service(service) {
        ServingStatus::ServiceUnknown
    } else if api.service().readiness().is_ready() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn response(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status.into() }
}
