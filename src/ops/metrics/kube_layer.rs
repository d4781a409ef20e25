//! Counts requests to the apiserver, as the outermost layer of the client: one count a call, whatever is retried inside.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    code: u16,
}

/// The counter. A code of 0 stands for no answer at all.
#[derive(Clone, Debug)]
pub struct KubeRequests(Family<Labels, Counter>);

/// Wraps a client's service so that its requests are counted.
#[derive(Clone, Debug)]
pub struct KubeRequestsLayer(KubeRequests);

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    requests: KubeRequests,
}

impl KubeRequests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::default();
        registry.register("kube_requests", "Requests to the apiserver; code 0: no answer", family.clone());
        Self(family)
    }

    pub(super) fn layer(&self) -> KubeRequestsLayer {
        KubeRequestsLayer(self.clone())
    }
}

impl<S> Layer<S> for KubeRequestsLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, requests: self.0.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let verb = verb(&request);
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
            requests.0.get_or_create(&Labels { verb, code }).inc();
            answer
        })
    }
}

/// The verb as the apiserver's own metrics have it, as far as method and query tell.
fn verb<A>(request: &Request<A>) -> &'static str {
    let watch = || request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    match *request.method() {
        Method::GET if watch() => "WATCH",
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use prometheus_client::encoding::text::encode;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn verbs_and_codes() {
        let mut registry = Registry::default();
        let requests = KubeRequests::register(&mut registry);
        let service = requests.layer().layer(tower::service_fn(|request: Request<Body>| async move {
            match request.uri().path() {
                "/broken" => Err("no connection"),
                "/missing" => Ok(Response::builder().status(404).body(Body::empty()).unwrap()),
                _ => Ok(Response::new(Body::empty())),
            }
        }));
        for (method, uri, ok) in [
            (Method::GET, "/x", true),
            (Method::GET, "/x?limit=5&watch=true", true),
            (Method::GET, "/missing", true),
            (Method::PATCH, "/x", true),
            (Method::PATCH, "/broken", false),
        ] {
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            assert_eq!(service.clone().oneshot(request).await.is_ok(), ok, "{uri}");
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "kube_requests_total{verb=\"GET\",code=\"200\"} 1",
            "kube_requests_total{verb=\"WATCH\",code=\"200\"} 1",
            "kube_requests_total{verb=\"GET\",code=\"404\"} 1",
            "kube_requests_total{verb=\"PATCH\",code=\"200\"} 1",
            "kube_requests_total{verb=\"PATCH\",code=\"0\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
        }
    }
}
