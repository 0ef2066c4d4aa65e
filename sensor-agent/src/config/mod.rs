//! TOML as written → a resolved and checked [`Config`], or all its mistakes at once.
//!
//! The defaults stand in code ([`Config::default`]); the commented file in `dist/` documents them, and a test holds the
//! two together.

mod read;
mod reader;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use sensor_engine::actor;
use sensor_engine::capture::fragments;
use sensor_engine::engine::{Observer, Settings};
use sensor_engine::facts::Key;
use sensor_engine::finding::{Class, Confidence, Severity};
use sensor_engine::http::client::{ClientHeader, Proxies};
use sensor_engine::http::listener::Scoped;
use sensor_engine::policy::{IPV6_BITS, Mode, Policy, Standing};
use sensor_engine::rule::{RuleSet, RuleTimer};

use crate::kernel::choice::{AttributionChoice, TapChoice, XdpChoice};

pub(crate) use reader::Problem;

/// Where the configuration is looked for unless `--config` says otherwise.
pub(crate) const DEFAULT_PATH: &str = "/etc/sensor/sensor.toml";
/// Rules that come with the sensor.
pub(crate) const SHIPPED_RULES: &str = "/usr/share/sensor/rules";
/// Rules of the operator.
pub(crate) const OWN_RULES: &str = "/etc/sensor/rules.d";
/// The default configuration with every key explained.
pub(crate) const DEFAULT_FILE: &str = include_str!("../../dist/sensor.toml");

/// Largest configuration file read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The whole configuration, resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// What is captured, and how.
    pub(crate) capture: Capture,
    /// What is looked for.
    pub(crate) detection: Detection,
    /// What is remembered of clients.
    pub(crate) actors: Actors,
    /// What follows from findings.
    pub(crate) response: Response,
    /// Where alerts are written.
    pub(crate) alerts: Alerts,
    /// Where alerts are kept.
    pub(crate) store: Store,
    /// How people and machines ask.
    pub(crate) api: Api,
    /// What an attacker can make grow.
    pub(crate) limits: Limits,
    /// Directory of the lock file.
    pub(crate) runtime_dir: PathBuf,
}

/// `[capture]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    /// Interfaces; empty means every one that is up and not a loopback.
    pub(crate) interfaces: Vec<String>,
    /// How XDP attaches.
    pub(crate) xdp_mode: XdpChoice,
    /// Interfaces on which the XDP program of somebody else makes room.
    pub(crate) xdp_replace: Vec<String>,
    /// How the tap attaches.
    pub(crate) tap_mode: TapChoice,
    /// How the process behind a connection is found.
    pub(crate) attribution: AttributionChoice,
    /// Server ports that are HTTP by configuration.
    pub(crate) ports: Vec<u16>,
    /// Share of the flows that are seen, 0 to 1.
    pub(crate) sample: f64,
    /// Least share of the flows that are seen while rings overflow.
    pub(crate) least_sample: f64,
    /// Tunnels into which the kernel programs look ([`sensor_common::settings::tunnel`]).
    pub(crate) tunnels: u32,
    /// Ring buffers and engine threads; 0 means one per CPU.
    pub(crate) rings: u32,
    /// Bytes of each ring, a power of two; 0 means as many as the memory suggests.
    pub(crate) ring_bytes: u32,
    /// Directory of the pinned maps and links.
    pub(crate) pin_dir: PathBuf,
    /// Proxies that are trusted to name their clients.
    pub(crate) trusted_proxies: Vec<Scoped<IpNet>>,
    /// Headers in which they do; the first that is there counts.
    pub(crate) client_headers: Vec<Scoped<ClientHeader>>,
}

/// `[detection]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detection {
    /// Directories of rule files, all of them loaded.
    pub(crate) rules_dirs: Vec<PathBuf>,
    /// Files of keys that tokens are checked against.
    pub(crate) jwt_keys: Vec<PathBuf>,
    /// Whether bodies of responses are searched for what they should not hold.
    pub(crate) response_exposure: bool,
    /// Whether the model is asked about suspicious values.
    pub(crate) model: bool,
    /// Whether looks of rules are timed, one in [`RULES_TIMED_EVERY`].
    pub(crate) rule_timing: bool,
}

/// `[actors]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Actors {
    /// Whether anything is remembered at all.
    pub(crate) enabled: bool,
    /// Transactions that may wait to be looked at.
    pub(crate) queue: u64,
    /// Limits and thresholds.
    pub(crate) limits: actor::Settings,
}
/// Looks of a rule of which one is timed, if times are wanted.
const RULES_TIMED_EVERY: u32 = 64;

/// `[response]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response {
    /// Whether blocks take effect.
    pub(crate) enforce: bool,
    /// How long a source's first block lasts.
    pub(crate) block_for: Duration,
    /// How many times as long as the one before a further one lasts.
    pub(crate) block_factor: u32,
    /// How long one lasts at most that has grown.
    pub(crate) max_block: Duration,
    /// How long after its end a block counts as one before.
    pub(crate) block_memory: Duration,
    /// Sessions behind an address from which it is a crowd's.
    pub(crate) crowd_sessions: u8,
    /// How long one lasts at most where another site's page caused the request.
    pub(crate) block_foreign_for: Duration,
    /// Bits of an IPv6 address that a block covers.
    pub(crate) block_ipv6_prefix: u8,
    /// Combined confidence from which a source is blocked.
    pub(crate) block_from: Confidence,
    /// Classes with a threshold of their own.
    pub(crate) block_from_class: Vec<(Class, Confidence)>,
    /// Confidence from which a finding is reported.
    pub(crate) report_from: Confidence,
    /// Severity from which a source is blocked.
    pub(crate) block_severity: Severity,
    /// Sources that are never blocked.
    pub(crate) exempt: Vec<IpNet>,
    /// Connection attempts a second of one source from which it is reported.
    pub(crate) report_syn_per_sec: u32,
    /// Connection attempts a second of one source from which more are dropped; 0 drops none.
    pub(crate) max_syn_per_sec: u32,
    /// Segments without a connection a second of one source from which it is reported.
    pub(crate) report_stray_per_sec: u32,
    /// Segments without a connection a second of one source from which only its connections get through; 0 drops none.
    pub(crate) max_stray_per_sec: u32,
    /// Whether segments with flags that no stack sends are dropped.
    pub(crate) drop_impossible_flags: bool,
}

/// `[alerts]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alerts {
    /// File of one JSON event a line, if wanted.
    pub(crate) file: Option<PathBuf>,
    /// Size at which the file is rotated.
    pub(crate) max_file_bytes: u64,
    /// Rotated files kept.
    pub(crate) keep_files: u32,
    /// Alerts of one source and rule written singly in 10 seconds; more are rolled up.
    pub(crate) burst: u32,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    /// The database file.
    pub(crate) path: PathBuf,
    /// Alerts kept; the oldest go first.
    pub(crate) max_alerts: u64,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Api {
    /// Address and port, if the API is on.
    pub(crate) listen: Option<SocketAddr>,
    /// File of the bearer token.
    pub(crate) token_file: PathBuf,
    /// Host names that requests may name, beside loopback and the listen address.
    pub(crate) allowed_hosts: Vec<String>,
    /// Clients of the live stream at once.
    pub(crate) max_stream_clients: u32,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Connections kept by one engine.
    pub(crate) max_flows: u64,
    /// Sources whose earlier blocks, and whose company, are remembered.
    pub(crate) max_sources: u64,
    /// Seconds without a segment after which a connection is forgotten.
    pub(crate) flow_idle_secs: u64,
    /// Bytes kept for one direction of a connection.
    pub(crate) max_stream_bytes: u64,
    /// Out-of-order segments kept for one direction of a connection.
    pub(crate) max_stream_segments: u64,
    /// Milliseconds after which a hole in a stream is given up.
    pub(crate) hole_patience_ms: u64,
    /// Bytes of a message head that are inspected.
    pub(crate) max_head_bytes: u64,
    /// Requests of a connection that may wait for their responses.
    pub(crate) max_pipelined: u64,
    /// Bytes kept by one engine.
    pub(crate) max_total_bytes: u64,
    /// Bytes of a body that are inspected.
    pub(crate) max_body_bytes: u64,
    /// Bytes at the end of a longer body that are inspected too.
    pub(crate) max_body_tail_bytes: u64,
    /// Bytes of a client's unanswered requests that are remembered.
    pub(crate) max_history_bytes: u64,
    /// Other readings that are inspected where segments contradict each other.
    pub(crate) max_readings: u64,
    /// Requests of an HTTP/2 connection whose bodies are kept at once.
    pub(crate) max_http2_streams: u64,
    /// Bytes of a trailer section that are inspected.
    pub(crate) max_trailer_bytes: u64,
    /// HTTP/2 streams that a client may take back within ten seconds.
    pub(crate) max_http2_resets: u32,
    /// Control frames that an HTTP/2 client may send within ten seconds.
    pub(crate) max_http2_control: u32,
    /// Bytes of a body that are inspected once its coding is removed.
    pub(crate) max_decoded_body_bytes: u64,
    /// Bytes of a compressed body that are kept to be decoded.
    pub(crate) max_coded_body_bytes: u64,
    /// Bytes that are decoded behind these to get to the body's end.
    pub(crate) max_decoded_reach_bytes: u64,
    /// Bytes of a response's body that are inspected.
    pub(crate) max_response_body_bytes: u64,
    /// Bytes of a body that are inspected while bodies are trimmed.
    pub(crate) trimmed_body_bytes: u64,
    pub(crate) slow_request_secs: u64,
    pub(crate) slow_request_rate: u64,
    /// Bytes of data on SYNs that one engine keeps.
    pub(crate) max_early_bytes: u64,
    /// Suspicious values of a head, and of a body, that the model is asked about.
    pub(crate) max_model_values: u64,
    /// Work that is spent on looking through a head, and through a body.
    pub(crate) max_inspection_work: u64,
    /// IP datagrams of which parts are missing that one engine's thread keeps.
    pub(crate) max_fragmented: u64,
    /// Bytes of parts of IP datagrams that one engine's thread keeps.
    pub(crate) max_fragment_bytes: u64,
    /// Block entries of each family, addresses and prefixes together.
    pub(crate) max_blocked: u32,
    /// Reports waiting to be written.
    pub(crate) report_queue: u64,
    /// Connections whose accepting process is remembered.
    pub(crate) max_owners: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capture: Capture {
                interfaces: Vec::new(),
                xdp_mode: XdpChoice::Auto,
                xdp_replace: Vec::new(),
                tap_mode: TapChoice::Auto,
                attribution: AttributionChoice::Auto,
                ports: vec![80, 8080],
                sample: 1.0,
                least_sample: 0.05,
                tunnels: 0,
                rings: 0,
                ring_bytes: 0,
                pin_dir: "/sys/fs/bpf/sensor".into(),
                trusted_proxies: Vec::new(),
                client_headers: ClientHeader::ALL.map(Scoped::from).to_vec(),
            },
            detection: Detection {
                rules_dirs: vec![SHIPPED_RULES.into(), OWN_RULES.into()],
                jwt_keys: Vec::new(),
                response_exposure: true,
                model: true,
                rule_timing: false,
            },
            actors: Actors { enabled: true, queue: 4096, limits: actor::Settings::default() },
            response: Response {
                enforce: false,
                block_for: Duration::from_secs(60),
                block_factor: 5,
                max_block: Duration::from_secs(4 * 3600),
                block_memory: Duration::from_secs(24 * 3600),
                crowd_sessions: 8,
                block_foreign_for: Duration::from_secs(60),
                block_ipv6_prefix: IPV6_BITS,
                block_from: confidence(0.7),
                block_from_class: Vec::new(),
                report_from: confidence(0.5),
                block_severity: Severity::Medium,
                exempt: Vec::new(),
                report_syn_per_sec: 200,
                max_syn_per_sec: 0,
                report_stray_per_sec: 200,
                max_stray_per_sec: 0,
                drop_impossible_flags: false,
            },
            alerts: Alerts {
                file: Some("/var/log/sensor/eve.json".into()),
                max_file_bytes: 64 << 20,
                keep_files: 5,
                burst: 20,
            },
            store: Store { path: "/var/lib/sensor/sensor.db".into(), max_alerts: 100_000 },
            api: Api {
                listen: Some(SocketAddr::from(([127, 0, 0, 1], 9470))),
                token_file: "/var/lib/sensor/api.token".into(),
                allowed_hosts: Vec::new(),
                max_stream_clients: 32,
            },
            limits: Limits::default(),
            runtime_dir: "/run/sensor".into(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let engine = Settings::default();
        Self {
            max_flows: engine.max_flows as u64,
            max_sources: 65_536,
            flow_idle_secs: engine.flow_idle.as_secs(),
            max_stream_bytes: engine.max_stream_bytes as u64,
            max_stream_segments: engine.max_stream_segments as u64,
            hole_patience_ms: u64::try_from(engine.hole_patience.as_millis()).unwrap_or(u64::MAX),
            max_head_bytes: engine.max_head_bytes as u64,
            max_pipelined: engine.max_pipelined as u64,
            max_total_bytes: engine.max_total_bytes as u64,
            max_body_bytes: engine.max_body_bytes as u64,
            max_body_tail_bytes: engine.max_body_tail_bytes as u64,
            max_history_bytes: engine.max_history_bytes as u64,
            max_readings: engine.max_readings as u64,
            max_http2_streams: engine.max_http2_streams as u64,
            max_trailer_bytes: engine.max_trailer_bytes as u64,
            max_http2_resets: engine.max_http2_resets,
            max_http2_control: engine.max_http2_control,
            max_decoded_body_bytes: engine.max_decoded_body_bytes as u64,
            max_coded_body_bytes: engine.max_coded_body_bytes as u64,
            max_decoded_reach_bytes: engine.max_decoded_reach_bytes as u64,
            max_response_body_bytes: engine.max_response_body_bytes as u64,
            trimmed_body_bytes: engine.trimmed_body_bytes as u64,
            slow_request_secs: engine.slow_request.as_secs(),
            slow_request_rate: engine.slow_request_rate,
            max_early_bytes: engine.max_early_bytes as u64,
            max_model_values: engine.max_model_values as u64,
            max_inspection_work: engine.max_inspection_work,
            max_fragmented: engine.fragments.max_datagrams as u64,
            max_fragment_bytes: engine.fragments.max_bytes as u64,
            report_queue: 4096,
            max_blocked: sensor_common::limit::BLOCKED,
            max_owners: sensor_common::limit::OWNERS,
        }
    }
}

/// The confidence nearest to `value`.
fn confidence(value: f64) -> Confidence {
    Confidence::new(value as f32).unwrap_or(Confidence::ZERO)
}

impl Config {
    /// Reads the text of `file`; all mistakes at once.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        read::config(file, text).map_err(Problems)
    }

    /// Reads `file`. Without one, the defaults are in force if nothing stands at the default place.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let path = file.unwrap_or(Path::new(DEFAULT_PATH));
        if file.is_none() && !path.exists() {
            return Ok(Self::default());
        }
        let text = read_bounded(path, MAX_FILE_BYTES)
            .with_context(|| format!("the configuration `{}` cannot be read", path.display()))?;
        Ok(Self::parse(path, &text)?)
    }

    /// This configuration with what a reload takes up of `new`.
    pub(crate) fn with_reloadable(&self, new: &Self) -> Self {
        let mut config = self.clone();
        config.capture.sample = new.capture.sample;
        config.capture.least_sample = new.capture.least_sample;
        config.capture.ring_bytes = new.capture.ring_bytes;
        config.capture.ports.clone_from(&new.capture.ports);
        config.capture.tunnels = new.capture.tunnels;
        config.detection.rules_dirs.clone_from(&new.detection.rules_dirs);
        config.detection.jwt_keys.clone_from(&new.detection.jwt_keys);
        config.response = new.response.clone();
        config.actors.limits = new.actors.limits.clone();
        config
    }

    /// What the engine needs of it.
    pub(crate) fn engine_settings(&self) -> Settings {
        let limits = &self.limits;
        Settings {
            max_flows: size(limits.max_flows),
            flow_idle: Duration::from_secs(limits.flow_idle_secs),
            max_stream_bytes: size(limits.max_stream_bytes),
            max_stream_segments: size(limits.max_stream_segments),
            hole_patience: Duration::from_millis(limits.hole_patience_ms),
            max_head_bytes: size(limits.max_head_bytes),
            max_pipelined: size(limits.max_pipelined),
            max_total_bytes: size(limits.max_total_bytes),
            max_body_bytes: size(limits.max_body_bytes),
            max_body_tail_bytes: size(limits.max_body_tail_bytes),
            max_history_bytes: size(limits.max_history_bytes),
            max_readings: size(limits.max_readings),
            max_http2_streams: size(limits.max_http2_streams),
            max_trailer_bytes: size(limits.max_trailer_bytes),
            max_http2_resets: limits.max_http2_resets,
            max_http2_control: limits.max_http2_control,
            max_decoded_body_bytes: size(limits.max_decoded_body_bytes),
            max_coded_body_bytes: size(limits.max_coded_body_bytes),
            max_decoded_reach_bytes: size(limits.max_decoded_reach_bytes),
            max_response_body_bytes: size(limits.max_response_body_bytes),
            trimmed_body_bytes: size(limits.trimmed_body_bytes),
            slow_request: Duration::from_secs(limits.slow_request_secs),
            slow_request_rate: limits.slow_request_rate,
            max_early_bytes: size(limits.max_early_bytes),
            fragments: fragments::Limits {
                max_datagrams: size(limits.max_fragmented),
                max_bytes: size(limits.max_fragment_bytes),
                ..fragments::Limits::default()
            },
            response_exposure: self.detection.response_exposure,
            reads_only: false,
            model: self.detection.model,
            max_model_values: size(limits.max_model_values),
            max_inspection_work: limits.max_inspection_work,
            standing: Arc::new(Standing::new(Key::new(rand::random()), limits.max_sources)),
            rule_timer: self
                .detection
                .rule_timing
                .then_some(RuleTimer { clock: crate::kernel::clock::boot_nanos, every: RULES_TIMED_EVERY }),
            proxies: Proxies {
                trusted: self.capture.trusted_proxies.clone(),
                headers: self.capture.client_headers.clone(),
            },
            ..Settings::default()
        }
    }

    /// What remembers clients, if anything does; its facts must be made with the same key, and its engines know the same of sources.
    pub(crate) fn observer(
        &self,
        rules: Arc<RuleSet>,
        policy: Arc<Policy>,
        key: Key,
        standing: Arc<Standing>,
    ) -> Option<Observer> {
        let actors = &self.actors;
        actors.enabled.then(|| Observer::new(actors.limits.clone(), rules, policy, key, standing))
    }

    /// When to report and when to block.
    pub(crate) fn policy(&self) -> Policy {
        let response = &self.response;
        Policy {
            mode: self.mode(),
            report_from: response.report_from,
            block_from: response.block_from,
            block_from_class: response.block_from_class.clone(),
            block_severity: response.block_severity,
            block_for: response.block_for,
            block_factor: response.block_factor,
            block_longest: response.max_block,
            block_memory: response.block_memory,
            crowd_from: response.crowd_sessions,
            block_foreign_for: response.block_foreign_for,
            block_ipv6_prefix: response.block_ipv6_prefix,
            exempt: response.exempt.clone(),
        }
    }

    /// Observe or enforce.
    pub(crate) fn mode(&self) -> Mode {
        if self.response.enforce { Mode::Enforce } else { Mode::Observe }
    }
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Reads a text file of at most `most` bytes.
pub(crate) fn read_bounded(path: &Path, most: u64) -> anyhow::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= most, "the file is larger than {most} bytes");
    String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!("the file is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to() + 1)
    })
}

/// All mistakes of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests;
