//! The HTTP API: `router(state)` → [`Router`]. Nothing but this module knows axum.
//!
//! Every request passes the same gates before a handler sees it: how many at once, how long, which host name was asked
//! for, which token. Everything that goes wrong is answered as problem details (RFC 9457).

mod alerts;
mod blocklist;
mod guard;
mod health;
mod marks;
mod metrics;
mod page;
mod problem;
mod rules;
mod stream;
pub(crate) mod token;
mod traffic;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config;
use crate::shared::Shared;
use problem::Problem;
use token::Token;

/// Largest request body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Requests worked on at once; live streams have a limit of their own.
const MAX_REQUESTS: usize = 64;
/// Longest time until a request is answered (the head, for a stream).
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the handlers work with.
#[derive(Debug)]
pub(crate) struct Api {
    shared: Arc<Shared>,
    token: Token,
    hosts: Hosts,
    requests: Semaphore,
    streams: Arc<Semaphore>,
}

/// Host names under which the API may be asked.
#[derive(Debug)]
struct Hosts {
    listen: IpAddr,
    names: Vec<String>,
}

type State = axum::extract::State<Arc<Api>>;

impl Api {
    /// The API of `shared` as it is configured.
    pub(crate) fn new(shared: Arc<Shared>, token: Token, config: &config::Api) -> Self {
        let listen = config.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        Self {
            shared,
            token,
            hosts: Hosts { listen: listen.ip(), names: config.allowed_hosts.clone() },
            requests: Semaphore::new(MAX_REQUESTS),
            streams: Arc::new(Semaphore::new(config.max_stream_clients as usize)),
        }
    }
}

/// The routes behind their gates.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/security/health", get(health::health))
        .route("/api/security/alerts", get(alerts::list))
        .route("/api/security/alerts/stream", get(stream::stream))
        .route("/api/security/alerts/{id}/false-positive", post(marks::mark).delete(marks::unmark))
        .route("/api/security/blocklist", get(blocklist::list).post(blocklist::add).delete(blocklist::remove))
        .route("/api/security/rules", get(rules::rules))
        .route("/api/security/drops", get(traffic::drops))
        .route("/metrics", get(metrics::metrics))
        .route_layer(middleware::from_fn_with_state(api.clone(), guard::token))
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), guard::host))
        .layer(middleware::from_fn_with_state(api.clone(), guard::load))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::map_response(harden))
        .with_state(api)
}

/// Serves the API until `stop` becomes true.
pub(crate) async fn serve(api: Arc<Api>, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    let mut stopping = api.shared.stopping();
    let stop = async move {
        // Fails when the agent is gone, which is a reason to stop too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    axum::serve(listener, router(api)).with_graceful_shutdown(stop).await
}

async fn not_found(uri: Uri) -> Problem {
    let path = crate::printable::short(uri.path(), 200);
    Problem::new(404, "not_found", format!("nothing stands at `{path}`, see `/` for what there is"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let path = crate::printable::short(uri.path(), 200);
    Problem::new(405, "method_not_allowed", format!("`{path}` does not take {method}"))
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    use axum::response::IntoResponse;
    tracing::error!("a request handler panicked");
    Problem::new(500, "internal", "the request could not be answered, see the agent's log").into_response()
}

/// Only the page's own script and style run, whatever an attacker's text may say; nobody frames it, no form leaves it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: &[(header::HeaderName, &str)] = &[
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

async fn harden(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
