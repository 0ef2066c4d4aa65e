//! The gates before every handler.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Hosts, State, TIMEOUT};

/// How many at once, and how long.
pub(super) async fn load(api: State, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests.try_acquire() else {
        return Problem::unavailable("too many requests at once, try again").into_response();
    };
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    }
}

/// Which host name was asked for. A page of another site can make a browser ask this address under the site's own name
/// (DNS rebinding), but not under ours.
pub(super) async fn host(api: State, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let name = request.uri().authority().map(|authority| authority.as_str()).or(header);
    match name {
        Some(name) if api.hosts.allow(name) => next.run(request).await,
        _ => {
            let shown = crate::printable::short(name.unwrap_or_default(), 100);
            let detail = format!("this is not `{shown}`; names beside loopback go into `api.allowed_hosts`");
            Problem::new(421, "wrong_host", detail).into_response()
        }
    }
}

impl Hosts {
    fn allow(&self, host: &str) -> bool {
        let name = without_port(host);
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // No name, no rebinding; still only addresses that can be ours.
            return address.is_loopback() || address == self.listen || self.listen.is_unspecified();
        }
        let name = name.trim_end_matches('.');
        name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Which token. A token in the address would end up in logs and histories, so it is refused there even if it is right.
pub(super) async fn token(api: State, request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let named = |pair: &str| matches!(pair.split('=').next(), Some("token" | "access_token" | "api_key"));
    if query.split('&').any(named) {
        return unauthorized("a token in the address is refused, send `Authorization: Bearer <token>`");
    }
    let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match header.and_then(bearer) {
        Some(token) if api.token.is(token) => next.run(request).await,
        Some(_) => unauthorized("the token is wrong"),
        None => unauthorized("a token is missing, send `Authorization: Bearer <token>`"),
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn unauthorized(detail: &str) -> Response {
    Problem::new(401, "unauthorized", detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_allowed() {
        let hosts = Hosts { listen: "192.0.2.1".parse().unwrap(), names: vec!["sensor.example".to_owned()] };
        for good in [
            "localhost",
            "LOCALHOST:9470",
            "127.0.0.1:1",
            "[::1]:9470",
            "[::1]",
            "192.0.2.1",
            "sensor.example.:80",
        ] {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9470",
            "192.0.2.2",
            "[::2]",
            "::",
        ] {
            assert!(!hosts.allow(bad), "{bad}");
        }
    }
}
