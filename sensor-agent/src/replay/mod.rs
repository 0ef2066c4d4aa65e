//! Captures and recorded requests through the same engine that runs live: what the sensor would have said of them.
//!
//! A capture becomes the records that the tap would have written, with what the tap knows of handshakes; the engine cannot tell the
//! difference. This is also how to try the sensor on a capture before it is installed.

mod capture;
mod connections;
mod har;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context, Result};
use sensor_engine::capture::file::{Frame, is_capture};
use sensor_engine::capture::fragments::Fragments;
use sensor_engine::capture::packet::{self, Packet, TcpPacket};
use sensor_engine::engine::{Command, Engine, Observer, Transaction};
use sensor_engine::time::Timestamp;

use crate::pipeline::Delivered;
use crate::request;
use connections::Connections;

/// Largest HAR or request file that is read.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// What a replay has gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Packets in the capture, or requests in the file.
    pub(crate) read: u64,
    /// Packets that were no TCP segment, or none that could be read.
    pub(crate) passed_over: u64,
    /// Packets that were parts of IP datagrams.
    pub(crate) fragments: u64,
    /// Records that the engine got.
    pub(crate) records: u64,
    /// The capture ends in the middle of a packet.
    pub(crate) cut_off: bool,
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Capture,
    Har,
    Requests,
}

/// What comes out of a replay.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Something was found.
    Report(Delivered),
    /// A request and its response, if the engine lists them.
    Transaction(Box<Transaction>),
}

/// An engine, and where what it sees goes.
pub(crate) struct Replay<F: FnMut(Seen) -> Result<()>> {
    engine: Engine,
    observer: Option<Observer>,
    take: F,
    connections: Connections,
    fragments: Fragments,
    account: Account,
}

impl<F: FnMut(Seen) -> Result<()>> Replay<F> {
    /// A replay that hands to `take` what is seen. The observer, if there is one, gets the facts of the engine's transactions.
    pub(crate) fn new(engine: Engine, observer: Option<Observer>, take: F) -> Self {
        let (connections, fragments, account) = Default::default();
        Self { engine, observer, take, connections, fragments, account }
    }

    /// Runs a file: a capture (pcap, pcapng), an HTTP archive, or a request as it goes over the wire.
    ///
    /// # Errors
    /// If the file cannot be read or is none of them; or what `take` returns.
    pub(crate) fn run(mut self, file: &Path) -> Result<(Account, Engine)> {
        let context = || format!("`{}` cannot be replayed", file.display());
        let mut opened = File::open(file).with_context(context)?;
        let mut first = [0; 64];
        let read = opened.read(&mut first).with_context(context)?;
        opened.rewind().with_context(context)?;
        match kind(&first[..read]) {
            Kind::Capture => self.capture(opened).with_context(context)?,
            Kind::Har => self.har(opened).with_context(context)?,
            Kind::Requests => self.request(opened).with_context(context)?,
        }
        // Whatever waits for more gets no more: an hour later, everything idle has been given up.
        self.engine.handle_timeout(Timestamp::from_nanos(u64::MAX));
        self.drain()?;
        Ok((self.account, self.engine))
    }

    fn capture(&mut self, file: File) -> Result<()> {
        self.account.cut_off = capture::read(file, |frame| self.frame(frame))?;
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.account.read += 1;
        if self.account.read.is_multiple_of(PACKETS_BETWEEN_TIMEOUTS) {
            self.engine.handle_timeout(frame.time);
        }
        match frame.link.and_then(|link| packet::decode(link, frame.bytes)) {
            Some(Packet::Tcp(packet)) => self.packet(&packet, frame),
            Some(Packet::Fragment(part)) => {
                self.account.fragments += 1;
                let Some(whole) = self.fragments.push(&part, frame.time) else { return Ok(()) };
                let (source, destination) = (whole.source, whole.destination);
                match packet::decode_payload(source, destination, whole.protocol, &whole.payload) {
                    Some(packet) => self.packet(&packet, frame),
                    None => Ok(()),
                }
            }
            None => {
                self.account.passed_over += 1;
                Ok(())
            }
        }
    }

    fn packet(&mut self, packet: &TcpPacket<'_>, frame: &Frame<'_>) -> Result<()> {
        let Some(segment) = self.connections.segment(packet, frame.time, frame.interface) else {
            return Ok(());
        };
        self.account.records += 1;
        self.engine.handle_segment(&segment);
        self.drain()
    }

    fn har(&mut self, file: File) -> Result<()> {
        for exchange in har::exchanges(file.take(MAX_TEXT_BYTES))? {
            match exchange {
                Some(exchange) => self.one_request(&exchange.request, &exchange.response)?,
                None => self.account.passed_over += 1,
            }
        }
        Ok(())
    }

    fn request(&mut self, file: File) -> Result<()> {
        let mut bytes = Vec::new();
        file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
        self.one_request(&request::with_line_ends(&bytes), &[])
    }

    /// Each request goes over a connection of its own.
    fn one_request(&mut self, request: &[u8], response: &[u8]) -> Result<()> {
        self.account.read += 1;
        let port = 1024 + (self.account.read % 60_000) as u16;
        for record in request::dialog_from(port, request, response) {
            self.account.records += 1;
            self.engine.handle_record(&record);
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(command) = self.engine.next_command() {
            self.carry_out(command)?;
        }
        while let Some(facts) = self.engine.next_facts() {
            let Some(observer) = &mut self.observer else { continue };
            observer.observe(&facts);
            while let Some(command) = self.observer.as_mut().and_then(Observer::next_command) {
                self.carry_out(command)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Report(report) => (self.take)(Seen::Report(Delivered { report, enforcement: None })),
            Command::Transaction(transaction) => (self.take)(Seen::Transaction(transaction)),
            Command::Block(_) | Command::Skip(_) | Command::WebSocket(_) => Ok(()),
        }
    }
}

/// How often the engine learns from the packets' times that time has passed.
const PACKETS_BETWEEN_TIMEOUTS: u64 = 256;

fn kind(first: &[u8]) -> Kind {
    if is_capture(first) {
        return Kind::Capture;
    }
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Kind::Har,
        _ => Kind::Requests,
    }
}

#[cfg(test)]
mod tests;
