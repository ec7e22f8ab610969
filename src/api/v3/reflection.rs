//! What is served, described for tools that are given no proto files (gRPC Server Reflection).

use std::convert::Infallible;

use axum::body::Body;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_reflection::server::Builder;
use tower::util::BoxCloneSyncService;
use tower::{Service as _, service_fn};

use super::body::Bounded;
use super::{methods, pb};
use crate::api::State;

type Answer = Response<tonic::body::Body>;
type Service = BoxCloneSyncService<Request<Body>, Answer, Infallible>;

/// The service by both of its names.
pub(super) struct Reflection {
    now: Service,
    old: Service,
}

impl Reflection {
    /// A description of the methods that are served and no others.
    pub(super) fn new() -> Self {
        let described = || {
            // Each name of the service knows of the other, too.
            let all = [pb::DESCRIPTORS, v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET].into_iter().fold(
                Builder::configure().include_reflection_service(false),
                Builder::register_encoded_file_descriptor_set,
            );
            methods::services().fold(all, Builder::with_service_name)
        };
        // The descriptors are part of the program, and found whole when it is tested.
        Self {
            now: described().build_v1().map_or_else(|_| nobody(), BoxCloneSyncService::new),
            old: described().build_v1alpha().map_or_else(|_| nobody(), BoxCloneSyncService::new),
        }
    }

    pub(super) fn answer(
        &self,
        api: &State,
        request: Request<Bounded>,
    ) -> BoxFuture<'static, Result<Answer, Infallible>> {
        self.now.clone().call(until_stopped(api, request))
    }

    pub(super) fn answer_old(
        &self,
        api: &State,
        request: Request<Bounded>,
    ) -> BoxFuture<'static, Result<Answer, Infallible>> {
        self.old.clone().call(until_stopped(api, request))
    }
}

/// Ends the questions when the server stops, and with them the answers.
fn until_stopped(api: &State, request: Request<Bounded>) -> Request<Body> {
    let stopping = api.service().shutdown_signal();
    request.map(|body| Body::from_stream(Body::new(body).into_data_stream().take_until(stopping)))
}

fn nobody() -> Service {
    BoxCloneSyncService::new(service_fn(|request: Request<Body>| {
        let status = methods::unknown(request.uri().path());
        async move { Ok(status.into_http()) }
    }))
}
