//! The routes by the settings that hold now.

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

/// The routes by the settings that hold now: a connection that is open takes its next request by them.
#[derive(Clone)]
pub(crate) struct Current(watch::Receiver<Router>);

impl Current {
    pub(crate) fn new(routes: watch::Receiver<Router>) -> Self {
        Self(routes)
    }
}

impl Service<Request<Incoming>> for Current {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let router = self.0.borrow().clone();
        TowerToHyperService::new(router).call(request)
    }
}
