//! The agent's API as the commands use it: over HTTP, with the token from its file, as any other client.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::config::Config;

/// Longest time for an answer that is no stream.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Longest line of a stream.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The API of the agent on this host.
#[derive(Debug)]
pub(super) struct Client {
    base: String,
    token: String,
}

/// Nobody answers at the API's address.
#[derive(Debug)]
pub(super) struct Down {
    base: String,
    reason: String,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no agent answers at {}: {}", self.base, self.reason)
    }
}

impl std::error::Error for Down {}

/// Name and value of each query parameter.
pub(super) type Query = Vec<(&'static str, String)>;

impl Client {
    /// The API that `config` names.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let listen = config.api.listen.context("the API is switched off: `api.listen` is empty")?;
        let base = format!("http://{}", reachable(listen));
        if !config.api.token_file.exists() {
            let reason = format!("the token file `{}` does not exist yet", config.api.token_file.display());
            return Err(Down { base, reason }.into());
        }
        Ok(Self { base, token: crate::api::token::read(&config.api.token_file)? })
    }

    /// Gets a document.
    pub(super) fn get(&self, path: &str, query: &Query) -> anyhow::Result<Value> {
        let mut response = self.call(path, query, Some(TIMEOUT))?;
        let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string()?;
        serde_json::from_str(&text).context("the agent's answer is no JSON")
    }

    /// Reads a stream of server-sent events; `each` gets the data of every event.
    pub(super) fn follow(
        &self,
        path: &str,
        query: &Query,
        mut each: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        use std::io::Read;
        let response = self.call(path, query, None)?;
        let mut reader = BufReader::new(response.into_body().into_reader());
        let mut line = String::new();
        loop {
            line.clear();
            if reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(data) = line.strip_prefix("data:") {
                each(data.trim())?;
            }
        }
    }

    /// Asks for a change, without a body; the answer is a document.
    pub(super) fn change(&self, path: &str, change: Change) -> anyhow::Result<Value> {
        let (agent, url) = (agent(Some(TIMEOUT)), format!("{}{path}", self.base));
        let token = format!("Bearer {}", self.token);
        let answer = match change {
            Change::Make => agent.post(url).header("authorization", token).send_empty(),
            Change::TakeBack => agent.delete(url).header("authorization", token).call(),
        };
        let mut response = self.sound(answer)?;
        let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string()?;
        serde_json::from_str(&text).context("the agent's answer is no JSON")
    }

    fn call(
        &self,
        path: &str,
        query: &Query,
        timeout: Option<Duration>,
    ) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = agent(timeout).get(format!("{}{path}", self.base));
        for (key, value) in query {
            request = request.query(key, value);
        }
        self.sound(request.header("authorization", format!("Bearer {}", self.token)).call())
    }

    /// The answer, unless there is none or it is a problem.
    fn sound(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut response =
            answer.map_err(|error| Down { base: self.base.clone(), reason: error.to_string() })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let text =
            response.body_mut().with_config().limit(MAX_LINE_BYTES).read_to_string().unwrap_or_default();
        let detail = serde_json::from_str::<Value>(&text).ok().and_then(|problem| {
            problem["detail"].as_str().map(|detail| crate::printable::line(detail).into_owned())
        });
        anyhow::bail!("the agent answered {status}: {}", detail.unwrap_or_default())
    }
}

/// What is asked of the agent beside documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Make it so.
    Make,
    /// Take that back.
    TakeBack,
}

fn agent(timeout: Option<Duration>) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_body(timeout)
        .timeout_recv_response(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .build()
        .into()
}

/// Whether the agent could not be reached at all.
pub(super) fn is_down(error: &anyhow::Error) -> bool {
    error.is::<Down>()
}

/// An address for a client, where the agent listens on all of them.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}
