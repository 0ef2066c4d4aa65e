//! Transactions as they were understood: an `http` event in Suricata's EVE form, or a line for people.

use sensor_engine::engine::Transaction;
use sensor_engine::http::anomaly::Anomalies;
use serde::Serialize;

use super::{community, eve};
use crate::clock::WallClock;
use crate::printable::line;

#[derive(Serialize)]
struct Event<'a> {
    timestamp: String,
    flow_id: u64,
    event_type: &'static str,
    src_ip: String,
    src_port: u16,
    dest_ip: String,
    dest_port: u16,
    proto: &'static str,
    app_proto: &'static str,
    tx_id: u64,
    community_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xff: Option<String>,
    http: Answered<'a>,
    sensor: Sensor<'a>,
}

#[derive(Serialize)]
struct Answered<'a> {
    #[serde(flatten)]
    request: eve::Http<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    length: u64,
}

#[derive(Serialize)]
struct Sensor<'a> {
    client_source: &'static str,
    request_bytes: u64,
    request_anomalies: Vec<&'static str>,
    response_type: String,
    response_anomalies: Vec<&'static str>,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<&'a str>,
}

/// `transaction` as one line of JSON.
pub(crate) fn event(transaction: &Transaction, clock: WallClock) -> String {
    let request = eve::safe(&transaction.request);
    let Transaction { client, server, .. } = *transaction;
    let event = Event {
        timestamp: eve::timestamp(clock.at(transaction.time)),
        flow_id: community::flow_number(client, server, transaction.flow_id),
        event_type: "http",
        src_ip: client.ip().to_canonical().to_string(),
        src_port: client.port(),
        dest_ip: server.ip().to_canonical().to_string(),
        dest_port: server.port(),
        proto: "TCP",
        app_proto: "http",
        tx_id: transaction.number,
        community_id: community::id(client, server),
        xff: (transaction.identity.address != client.ip().to_canonical())
            .then(|| transaction.identity.address.to_string()),
        http: Answered {
            request: eve::http(&request),
            status: transaction.status,
            length: transaction.response_bytes,
        },
        sensor: Sensor {
            client_source: transaction.identity.source.name(),
            request_bytes: transaction.request_bytes,
            request_anomalies: names(transaction.request_anomalies),
            response_type: line(&transaction.response_type).into_owned(),
            response_anomalies: names(transaction.response_anomalies),
            duration_us: u64::try_from(transaction.ended.since(transaction.time).as_micros())
                .unwrap_or(u64::MAX),
            grpc_status: transaction.grpc_status.as_deref(),
        },
    };
    // As with alerts: nothing in it can fail.
    serde_json::to_string(&event).unwrap_or_default()
}

/// One line for people.
pub(crate) fn text(transaction: &Transaction) -> String {
    let request = eve::safe(&transaction.request);
    let status = transaction.status.map_or("-".to_owned(), |status| status.to_string());
    let mut odd = names(transaction.request_anomalies);
    odd.extend(names(transaction.response_anomalies));
    let mark = if odd.is_empty() { String::new() } else { format!(" [{}]", odd.join(" ")) };
    format!(
        "{} {} #{} {} {}{} {} {} {status} {}{mark}",
        transaction.client,
        transaction.server,
        transaction.number,
        request.method,
        request.host,
        request.target,
        request.protocol,
        transaction.request_bytes,
        transaction.response_bytes,
    )
}

fn names(anomalies: Anomalies) -> Vec<&'static str> {
    anomalies.iter().map(|anomaly| anomaly.name()).collect()
}
