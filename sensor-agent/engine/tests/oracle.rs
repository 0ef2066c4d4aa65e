//! The kernel as the oracle: the same segments go to a real socket and to a stream, and both must read the same bytes.
//!
//! Every case is made from its seed alone. `SENSOR_ORACLE_SEED=n` runs one and shows its steps, `SENSOR_ORACLE_CASES=n` runs
//! that many. It needs root, for network namespaces; without, it says so and passes.
#![allow(clippy::disallowed_macros, reason = "a test says what it skipped and what differed")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a real socket is what is asked")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sensor_engine::stream::{Chunk, Piece, Stream};
use sensor_tests::lab::Lab;
use sensor_tests::rawtcp::{Agreed, Made, RawTcp, privileged};

const CASES: u64 = 10_000;
/// Connections that are open at once.
const AT_ONCE: usize = 100;
/// Offsets of a case are below this.
const SPAN: u64 = 40;

/// What is sent.
#[derive(Clone, Debug)]
enum Step {
    Data {
        offset: u32,
        payload: Vec<u8>,
        fin: bool,
    },
    /// A reset at this offset, which is never the exact one.
    Reset(u32),
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    initial: u32,
    steps: Vec<Step>,
}

/// What was read, and whether the end of the stream came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    text: Vec<u8>,
    ended: bool,
}

/// splitmix64: equal seeds give equal cases on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl Case {
    /// Two to seven segments behind a hole, perhaps copies of them, the hole last, and perhaps what fills all that is left.
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let initial =
            if random.one_in(3) { u32::MAX - random.below(SPAN) as u32 } else { random.next() as u32 };
        let hole = 1 + random.below(8) as u32;
        let (with_fin, with_reset) = (random.one_in(3), random.one_in(5));
        let mut steps = Vec::new();
        for number in 0..2 + random.below(6) {
            let offset = hole + random.below(SPAN - u64::from(hole)) as u32;
            let payload = vec![b'A' + number as u8; 1 + random.below(12) as usize];
            let fin = with_fin && random.one_in(4);
            steps.push(Step::Data { offset, payload, fin });
            if with_reset && random.one_in(4) {
                steps.push(Step::Reset(1 + random.below(SPAN) as u32));
            }
            if random.one_in(6) {
                let copied = random.below(steps.len() as u64) as usize;
                steps.push(steps[copied].clone());
            }
        }
        let filler = hole as usize + if random.one_in(2) { 0 } else { random.below(10) as usize };
        steps.push(Step::Data { offset: 0, payload: vec![b'x'; filler], fin: with_fin && random.one_in(8) });
        if random.one_in(4) {
            let offset = random.below(u64::from(hole)) as u32;
            steps.push(Step::Data { offset, payload: vec![b'y'; 1 + random.below(12) as usize], fin: false });
        }
        if random.one_in(2) {
            steps.push(Step::Data {
                offset: 0,
                payload: vec![b'z'; SPAN as usize + 12],
                fin: random.one_in(2),
            });
        }
        Self { seed, initial, steps }
    }

    fn send(&self, client: &RawTcp, agreed: &Agreed) -> Result<()> {
        for step in &self.steps {
            let (offset, payload, flags) = match step {
                Step::Data { offset, payload, fin: false } => (*offset, payload.as_slice(), "A"),
                Step::Data { offset, payload, fin: true } => (*offset, payload.as_slice(), "FA"),
                Step::Reset(offset) => (*offset, [].as_slice(), "R"),
            };
            client.send_made(Made {
                port: agreed.port,
                flags,
                sequence: agreed.first.wrapping_add(offset),
                acknowledgement: agreed.acknowledged,
                payload,
                ..Made::default()
            })?;
        }
        Ok(())
    }

    /// What the engine's stream reads.
    fn reassemble(&self) -> Seen {
        let first = self.initial.wrapping_add(1);
        let mut stream = Stream::starting_at(first);
        let mut seen = Seen::default();
        for step in &self.steps {
            match step {
                Step::Data { offset, payload, fin } => {
                    let piece = Piece {
                        sequence: first.wrapping_add(*offset),
                        payload,
                        wire_len: payload.len() as u32,
                        fin: *fin,
                        ..Piece::default()
                    };
                    stream.push(piece, &mut |chunk| match chunk {
                        Chunk::Data(data) => seen.text.extend_from_slice(data),
                        Chunk::Urgent => {}
                        Chunk::Gap(_) => seen.text.push(b'?'),
                        Chunk::End => seen.ended = true,
                    });
                }
                Step::Reset(offset) => assert!(!stream.is_next(first.wrapping_add(*offset))),
            }
        }
        seen
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { offset, payload, fin } => {
                write!(f, "@{offset} {}{}", payload.escape_ascii(), if *fin { "$" } else { "" })
            }
            Self::Reset(offset) => write!(f, "@{offset} RST"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text.escape_ascii(), if self.ended { "$" } else { "" })
    }
}

/// An application that reads what comes on each connection.
struct Application {
    listener: TcpListener,
    open: BTreeMap<u16, TcpStream>,
}

impl Application {
    fn new(lab: &Lab) -> Result<Self> {
        let listener = lab.app.enter(|| Ok(TcpListener::bind(("10.66.1.1", 80))?))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, open: BTreeMap::new() })
    }

    /// Takes `count` new connections.
    fn accept(&mut self, count: usize) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(2);
        while self.open.len() < count {
            match self.listener.accept() {
                Ok((socket, from)) => {
                    socket.set_nonblocking(true)?;
                    self.open.insert(from.port(), socket);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("a connection did not come"),
            }
        }
        Ok(())
    }

    /// Reads all there is on a connection, and closes it.
    fn read(&mut self, port: u16) -> Seen {
        let mut seen = Seen::default();
        let Some(mut socket) = self.open.remove(&port) else { return seen };
        let mut buffer = [0; 4096];
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => seen.ended = true,
                Ok(read) => {
                    seen.text.extend_from_slice(&buffer[..read]);
                    continue;
                }
                Err(error) => seen.ended |= error.kind() != ErrorKind::WouldBlock,
            }
            return seen;
        }
    }
}

/// Runs cases on connections of their own, all at once; gives back what the application read of each.
fn run(cases: &[Case], ports: u16, client: &RawTcp, application: &mut Application) -> Result<Vec<Seen>> {
    let opened: Vec<_> = cases.iter().zip(ports..).map(|(case, port)| (port, case.initial)).collect();
    let agreed = client.connect_all(&opened, &[])?;
    for one in &agreed {
        let Agreed { port, first, acknowledged } = *one;
        client.send_made(Made {
            port,
            flags: "A",
            sequence: first,
            acknowledgement: acknowledged,
            ..Made::default()
        })?;
    }
    application.accept(cases.len())?;
    for (case, agreed) in cases.iter().zip(&agreed) {
        case.send(client, agreed)?;
    }
    thread::sleep(Duration::from_millis(20));
    Ok(agreed.iter().map(|agreed| application.read(agreed.port)).collect())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Cases E1, E3 to E7, E12, E13 and E21.
#[test]
fn the_stream_reads_what_the_application_reads() {
    if !privileged() {
        return eprintln!("skipped: network namespaces need root");
    }
    let lab = Lab::new(&format!("oracle{}", std::process::id()), 1).unwrap();
    let client = RawTcp::new(&lab, 1, 77, 1).unwrap();
    let mut application = Application::new(&lab).unwrap();
    let seeds: Vec<u64> = match setting("SENSOR_ORACLE_SEED") {
        Some(seed) => vec![seed],
        None => (0..setting("SENSOR_ORACLE_CASES").unwrap_or(CASES)).collect(),
    };
    let (started, mut mismatches) = (Instant::now(), 0);
    for (number, batch) in seeds.chunks(AT_ONCE).enumerate() {
        let cases: Vec<_> = batch.iter().map(|&seed| Case::new(seed)).collect();
        let ports = 2000 + (number % 500 * AT_ONCE) as u16;
        let read = run(&cases, ports, &client, &mut application).unwrap();
        for (case, kernel) in cases.iter().zip(read) {
            let engine = case.reassemble();
            if engine != kernel || seeds.len() == 1 {
                let steps: Vec<_> = case.steps.iter().map(ToString::to_string).collect();
                eprintln!("seed {}: {}\n  kernel {kernel}\n  engine {engine}", case.seed, steps.join(", "));
            }
            mismatches += u64::from(engine != kernel);
        }
    }
    eprintln!("{} cases, {mismatches} mismatches, {:.1} s", seeds.len(), started.elapsed().as_secs_f32());
    assert_eq!(mismatches, 0, "run one alone with SENSOR_ORACLE_SEED");
}
