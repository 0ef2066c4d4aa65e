//! The live page: three files, inside the binary. They hold no data, so that they need no token; what the page shows it asks for like
//! any other client, with the token that the person at it gives.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// `GET /`.
pub(super) async fn index() -> Response {
    typed("text/html; charset=utf-8", INDEX)
}

/// `GET /page.css`.
pub(super) async fn style() -> Response {
    typed("text/css; charset=utf-8", STYLE)
}

/// `GET /page.js`.
pub(super) async fn script() -> Response {
    typed("text/javascript; charset=utf-8", SCRIPT)
}

fn typed(content_type: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
