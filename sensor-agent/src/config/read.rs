//! The sections and keys, their ranges, and the rules that hold between keys.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use sensor_common::settings::tunnel;
use sensor_engine::actor::{self, Behind};
use sensor_engine::finding::{Class, Confidence, Severity, UnknownName};
use sensor_engine::http::listener::Scoped;
use sensor_engine::policy::IPV6_BITS;

use super::reader::{Document, Problem, Section};
use super::value::{
    flag, fraction, integer, list, optional_path, parsed, path, paths, power_of_two, text, with,
};
use super::{Actors, Alerts, Api, Capture, Config, Detection, Limits, Response, Store, confidence};

const MIB: u64 = 1 << 20;
/// Fewest bits of an IPv6 address that an automatic block covers: one site has no more addresses.
const SHORTEST_IPV6_BLOCK: u64 = 48;
/// Longest automatic block: thirty days. An address changes hands.
const LONGEST_BLOCK_SECS: u64 = 30 * 86_400;

/// Reads a whole configuration.
pub(super) fn config(file: &Path, source: &str) -> Result<Config, Vec<Problem>> {
    let mut document = Document::parse(file, source);
    let config = sections(&mut document);
    let problems = document.finish();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Every key there is, as `section.key`.
#[cfg(test)]
pub(super) fn known_keys() -> Vec<String> {
    let mut document = Document::parse(Path::new(""), "");
    sections(&mut document);
    document.keys().to_vec()
}

fn sections(document: &mut Document<'_>) -> Config {
    let default = Config::default();
    let (api, allow_plain_remote) = document.section("api", |section| api(section, default.api));
    let config = Config {
        capture: document.section("capture", |section| capture(section, default.capture)),
        detection: document.section("detection", |section| Detection {
            rules_dirs: section.read("rules_dir", default.detection.rules_dirs, paths),
            jwt_keys: section.read("jwt_keys", default.detection.jwt_keys, paths),
            response_exposure: section.read("response_exposure", default.detection.response_exposure, flag),
            model: section.read("model", default.detection.model, flag),
            rule_timing: section.read("rule_timing", default.detection.rule_timing, flag),
        }),
        actors: document.section("actors", |section| actors(section, default.actors)),
        response: document.section("response", |section| response(section, default.response)),
        alerts: document.section("alerts", |section| alerts(section, default.alerts)),
        store: document.section("store", |section| Store {
            path: section.read("path", default.store.path, path),
            max_alerts: section.read("max_alerts", default.store.max_alerts, integer(100, 100_000_000)),
        }),
        api,
        limits: document.section("limits", |section| limits(section, &default.limits)),
        runtime_dir: document.section("service", |s| s.read("runtime_dir", default.runtime_dir, path)),
    };
    relate(document, &config, allow_plain_remote);
    config
}

fn capture(section: &mut Section<'_, '_>, default: Capture) -> Capture {
    let rings = u64::from(sensor_common::limit::RINGS);
    Capture {
        interfaces: section.read("interfaces", default.interfaces, list(with(interface))),
        xdp_mode: section.read(
            "xdp_mode",
            default.xdp_mode,
            parsed("one of `auto`, `native`, `generic`, `off`"),
        ),
        xdp_replace: section.read("xdp_replace", default.xdp_replace, list(with(interface))),
        tap_mode: section.read("tap_mode", default.tap_mode, parsed("one of `auto`, `tcx`, `clsact`")),
        attribution: section.read(
            "attribution",
            default.attribution,
            parsed("one of `auto`, `sock_diag`, `off`"),
        ),
        ports: section.read("ports", default.ports, list(|value| narrow(integer(1, 65_535)(value)))),
        sample: section.read("sample", default.sample, fraction),
        least_sample: section.read("least_sample", default.least_sample, fraction),
        tunnels: section
            .read("tunnels", Vec::new(), list(with(tunnel)))
            .into_iter()
            .fold(0, |all, kind| all | kind),
        rings: section.read("rings", default.rings, |value| narrow(integer(0, rings)(value))),
        ring_bytes: section.read("ring_bytes", default.ring_bytes, ring_bytes),
        pin_dir: section.read("pin_dir", default.pin_dir, path),
        trusted_proxies: section.read(
            "trusted_proxies",
            default.trusted_proxies,
            list(with(|text| Scoped::parse(text, exemption))),
        ),
        client_headers: section.read(
            "client_headers",
            default.client_headers,
            list(with(|text| Scoped::parse(text, str::parse))),
        ),
    }
}

fn response(section: &mut Section<'_, '_>, default: Response) -> Response {
    let fraction_of = |section: &mut Section<'_, '_>, key, default: Confidence| {
        section.read(key, default, |value| fraction(value).map(confidence))
    };
    Response {
        enforce: section.read("enforce", default.enforce, flag),
        block_for: Duration::from_secs(section.read(
            "block_secs",
            default.block_for.as_secs(),
            integer(1, LONGEST_BLOCK_SECS),
        )),
        block_factor: section.read("block_factor", default.block_factor, |value| {
            integer(1, 100)(value).map(|factor| factor as u32)
        }),
        max_block: Duration::from_secs(section.read(
            "max_block_secs",
            default.max_block.as_secs(),
            integer(1, LONGEST_BLOCK_SECS),
        )),
        block_memory: Duration::from_secs(section.read(
            "block_memory_secs",
            default.block_memory.as_secs(),
            integer(0, LONGEST_BLOCK_SECS),
        )),
        crowd_sessions: section.read("crowd_sessions", default.crowd_sessions, |value| {
            integer(0, Behind::MOST.into())(value).map(|sessions| sessions as u8)
        }),
        block_foreign_for: Duration::from_secs(section.read(
            "block_foreign_secs",
            default.block_foreign_for.as_secs(),
            integer(1, LONGEST_BLOCK_SECS),
        )),
        block_ipv6_prefix: section.read("block_ipv6_prefix", default.block_ipv6_prefix, ipv6_prefix),
        block_from: fraction_of(section, "block_from", default.block_from),
        block_from_class: section.read(
            "block_from_class",
            default.block_from_class,
            list(with(class_threshold)),
        ),
        report_from: fraction_of(section, "report_from", default.report_from),
        block_severity: section.read("block_severity", default.block_severity, with(severity)),
        exempt: section.read("exempt", default.exempt, list(with(exemption))),
        report_syn_per_sec: section.read("report_syn_per_sec", default.report_syn_per_sec, rate),
        max_syn_per_sec: section.read("max_syn_per_sec", default.max_syn_per_sec, rate),
        report_stray_per_sec: section.read("report_stray_per_sec", default.report_stray_per_sec, rate),
        max_stray_per_sec: section.read("max_stray_per_sec", default.max_stray_per_sec, rate),
        drop_impossible_flags: section.read("drop_impossible_flags", default.drop_impossible_flags, flag),
    }
}

fn ipv6_prefix(value: &super::value::Value<'_>) -> super::reader::Parsed<u8> {
    narrow(integer(SHORTEST_IPV6_BLOCK, u64::from(IPV6_BITS))(value))
}

fn actors(section: &mut Section<'_, '_>, default: Actors) -> Actors {
    let mut actors = Actors {
        enabled: section.read("enabled", default.enabled, flag),
        queue: section.read("queue", default.queue, integer(64, MIB)),
        limits: default.limits,
    };
    for range in actor::Settings::RANGES {
        if let Some(value) = actors.limits.get_mut(range.name) {
            *value = section.read(range.name, *value, integer(range.least, range.most));
        }
    }
    actors
}

/// A class and its threshold, `CSRF=0.9`.
fn class_threshold(text: &str) -> Result<(Class, Confidence), String> {
    let expected = || format!("got `{text}`, expected a class and a number from 0 to 1, such as `CSRF=0.9`");
    let (class, number) = text.split_once('=').ok_or_else(expected)?;
    let class = class.trim().parse().map_err(|error: UnknownName| error.to_string())?;
    let number = number.trim().parse().ok().and_then(Confidence::new).ok_or_else(expected)?;
    Ok((class, number))
}

/// Events a second; 0 stands for "never".
fn rate(value: &super::value::Value<'_>) -> super::reader::Parsed<u32> {
    narrow(integer(0, 1_000_000_000)(value))
}

fn alerts(section: &mut Section<'_, '_>, default: Alerts) -> Alerts {
    Alerts {
        file: section.read("file", default.file, optional_path),
        max_file_bytes: section.read("max_file_bytes", default.max_file_bytes, integer(64 << 10, 1 << 40)),
        keep_files: section.read("keep_files", default.keep_files, |value| narrow(integer(0, 1000)(value))),
        burst: section.read("burst", default.burst, |value| narrow(integer(1, 100_000)(value))),
    }
}

fn api(section: &mut Section<'_, '_>, default: Api) -> (Api, bool) {
    let api = Api {
        listen: section.read("listen", default.listen, with(listen)),
        token_file: section.read("token_file", default.token_file, path),
        allowed_hosts: section.read("allowed_hosts", default.allowed_hosts, list(text)),
        max_stream_clients: section.read("max_stream_clients", default.max_stream_clients, |value| {
            narrow(integer(1, 10_000)(value))
        }),
    };
    (api, section.read("allow_plain_remote", false, flag))
}

fn limits(section: &mut Section<'_, '_>, default: &Limits) -> Limits {
    Limits {
        max_blocked: section.read("max_blocked", default.max_blocked, |value| {
            narrow(integer(1024, u64::from(sensor_common::limit::MOST_BLOCKED))(value))
        }),
        max_flows: section.read("max_flows", default.max_flows, integer(16, 16 * MIB)),
        max_sources: section.read("max_sources", default.max_sources, integer(1024, 16 * MIB)),
        flow_idle_secs: section.read("flow_idle_secs", default.flow_idle_secs, integer(1, 86_400)),
        max_stream_bytes: section.read("max_stream_bytes", default.max_stream_bytes, integer(4096, 64 * MIB)),
        max_total_bytes: section.read(
            "max_total_bytes",
            default.max_total_bytes,
            integer(MIB, 64 * 1024 * MIB),
        ),
        max_body_bytes: section.read("max_body_bytes", default.max_body_bytes, integer(0, 64 * MIB)),
        max_body_tail_bytes: section.read(
            "max_body_tail_bytes",
            default.max_body_tail_bytes,
            integer(0, 64 * MIB),
        ),
        max_history_bytes: section.read("max_history_bytes", default.max_history_bytes, integer(0, 64 * MIB)),
        max_readings: section.read("max_readings", default.max_readings, integer(0, 16)),
        max_http2_streams: section.read("max_http2_streams", default.max_http2_streams, integer(1, 65_536)),
        max_trailer_bytes: section.read("max_trailer_bytes", default.max_trailer_bytes, integer(0, MIB)),
        max_http2_resets: section.read("max_http2_resets", default.max_http2_resets, rate),
        max_http2_control: section.read("max_http2_control", default.max_http2_control, rate),
        max_stream_segments: section.read(
            "max_stream_segments",
            default.max_stream_segments,
            integer(16, MIB),
        ),
        hole_patience_ms: section.read("hole_patience_ms", default.hole_patience_ms, integer(10, 60_000)),
        max_head_bytes: section.read("max_head_bytes", default.max_head_bytes, integer(1024, 16 * MIB)),
        max_pipelined: section.read("max_pipelined", default.max_pipelined, integer(1, 65_536)),
        max_decoded_body_bytes: section.read(
            "max_decoded_body_bytes",
            default.max_decoded_body_bytes,
            integer(0, 64 * MIB),
        ),
        max_coded_body_bytes: section.read(
            "max_coded_body_bytes",
            default.max_coded_body_bytes,
            integer(0, 64 * MIB),
        ),
        max_decoded_reach_bytes: section.read(
            "max_decoded_reach_bytes",
            default.max_decoded_reach_bytes,
            integer(0, 64 * MIB),
        ),
        trimmed_body_bytes: section.read(
            "trimmed_body_bytes",
            default.trimmed_body_bytes,
            integer(0, 64 * MIB),
        ),
        slow_request_secs: section.read("slow_request_secs", default.slow_request_secs, integer(1, 3600)),
        slow_request_rate: section.read("slow_request_rate", default.slow_request_rate, integer(0, MIB)),
        max_early_bytes: section.read("max_early_bytes", default.max_early_bytes, integer(0, 64 * MIB)),
        max_model_values: section.read("max_model_values", default.max_model_values, integer(1, 65_536)),
        max_inspection_work: section.read(
            "max_inspection_work",
            default.max_inspection_work,
            integer(1 << 20, 1 << 40),
        ),
        max_fragmented: section.read("max_fragmented", default.max_fragmented, integer(1, 65_536)),
        max_fragment_bytes: section.read(
            "max_fragment_bytes",
            default.max_fragment_bytes,
            integer(65_536, 1024 * MIB),
        ),
        max_response_body_bytes: section.read(
            "max_response_body_bytes",
            default.max_response_body_bytes,
            integer(0, 64 * MIB),
        ),
        report_queue: section.read("report_queue", default.report_queue, integer(16, MIB)),
        max_owners: section
            .read("max_owners", default.max_owners, |value| narrow(integer(1024, 4 * MIB)(value))),
    }
}

/// Ring sizes that the kernel takes: whole pages, a power of two; or 0.
fn ring_bytes(value: &super::value::Value<'_>) -> super::reader::Parsed<u32> {
    if integer(0, 0)(value).is_ok() {
        return Ok(0);
    }
    power_of_two(64 << 10, 1 << 30)(value).and_then(|bytes| narrow(Ok(bytes)))
}

fn tunnel(text: &str) -> Result<u32, String> {
    match text {
        "gre" => Ok(tunnel::GRE),
        "vxlan" => Ok(tunnel::VXLAN),
        "geneve" => Ok(tunnel::GENEVE),
        "ipip" => Ok(tunnel::IPIP),
        _ => {
            let shown = crate::printable::short(text, 40);
            Err(format!("`{shown}` is no known tunnel, expected one of `gre`, `vxlan`, `geneve`, `ipip`"))
        }
    }
}

/// What must hold between keys.
fn relate(document: &mut Document<'_>, config: &Config, allow_plain_remote: bool) {
    let response = &config.response;
    if response.block_from < response.report_from {
        let reason = format!(
            "`response.block_from`: got {}, expected at least `report_from` ({}), so that nothing is blocked \
             without a report",
            response.block_from, response.report_from
        );
        document.fault("response", "block_from", reason);
    }
    let limits = &config.limits;
    if limits.max_stream_bytes > limits.max_total_bytes {
        let reason = format!(
            "`limits.max_stream_bytes`: got `{}`, expected at most `max_total_bytes` (`{}`)",
            limits.max_stream_bytes, limits.max_total_bytes
        );
        document.fault("limits", "max_stream_bytes", reason);
    }
    if let Some(listen) = config.api.listen.filter(|a| !a.ip().is_loopback() && !allow_plain_remote) {
        let reason = format!(
            "`api.listen`: `{listen}` is reachable from other hosts and the API speaks plain HTTP, expected a \
             loopback address (or set `allow_plain_remote = true` if something in front of it speaks TLS)"
        );
        document.fault("api", "listen", reason);
    }
}

/// `value` in a narrower type; its range was checked before.
fn narrow<N: TryFrom<u64> + Default>(value: super::reader::Parsed<u64>) -> super::reader::Parsed<N> {
    value.map(|number| N::try_from(number).unwrap_or_default())
}

fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let shown = crate::printable::short(text, 60);
        format!("`{shown}` is no address with a port, expected one like `127.0.0.1:9470` or `[::1]:9470`")
    })
}

fn interface(text: &str) -> Result<String, String> {
    let fits = (1..16).contains(&text.len())
        && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    fits.then(|| text.to_owned()).ok_or_else(|| {
        let shown = crate::printable::short(text, 40);
        format!("`{shown}` is no interface name, expected 1 to 15 characters like `eth0`")
    })
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse().map_err(|error: sensor_engine::finding::UnknownName| error.to_string())
}

fn exemption(text: &str) -> Result<IpNet, String> {
    crate::target::parse(text)
}
