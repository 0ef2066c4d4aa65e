//! Run time of the tap's programs, as the kernel counts it (kernel.bpf_stats_enabled): nanoseconds a packet. Counting costs two reads of a clock for
//! each run, which the figures contain.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, Result};
use sensor_tests::agent::Agent;
use sensor_tests::lab::Lab;

use super::{LOADS, Options, download, load_nginx, observer};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel's counting, switched off again at the end.
struct Counting;

impl Counting {
    fn start() -> Result<Self> {
        fs::write(SWITCH, "1").context("the kernel does not count the run time of programs")?;
        Ok(Self)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "0");
    }
}

/// Runs and nanoseconds of the tap's two programs: what arrives, what leaves.
type Runs = [(u64, u64); 2];

pub(super) fn run(lab: &Lab, binary: &Path, folder: &Path, options: &Options) -> Result<()> {
    let mut agent = observer(lab, binary, &folder.join("agent-kernel"))?;
    let counting = Counting::start()?;
    println!("\nnanoseconds a packet in the tap    {:>10} {:>10}", "in", "out");
    for load in &LOADS {
        let before = runs(&mut agent)?;
        load_nginx(lab, load, options.secs)?;
        print(load.name, before, runs(&mut agent)?);
    }
    let before = runs(&mut agent)?;
    ping_pong(lab)?;
    print("another protocol", before, runs(&mut agent)?);
    let before = runs(&mut agent)?;
    download::download(lab, folder)?;
    print("a skipped download", before, runs(&mut agent)?);
    drop(counting);
    agent.stop()
}

fn print(name: &str, before: Runs, after: Runs) {
    let [arrives, leaves] = [0, 1].map(|at| {
        let (runs, time) = (after[at].0 - before[at].0, after[at].1 - before[at].1);
        time as f64 / runs.max(1) as f64
    });
    println!("  {name:<40} {arrives:>5.0} {leaves:>10.0}");
}

/// Read from the descriptors of the programs that the agent holds (proc_pid_fdinfo(5)): the first classifier is the one for what arrives.
fn runs(agent: &mut Agent) -> Result<Runs> {
    /// BPF_PROG_TYPE_SCHED_CLS.
    const CLASSIFIER: u64 = 3;
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", agent.process()?.id()))?.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        if field("prog_type:") == Some(CLASSIFIER) {
            let number = field("prog_id:").context("a program without a number")?;
            programs.insert(number, (field("run_cnt:").unwrap_or(0), field("run_time_ns:").unwrap_or(0)));
        }
    }
    let mut found = programs.into_values();
    let (first, second) = (found.next(), found.next());
    Ok([first.context("no program for what arrives")?, second.context("no program for what leaves")?])
}

/// Small messages of a protocol that is not HTTP, to and fro.
fn ping_pong(lab: &Lab) -> Result<()> {
    const TIMES: usize = 100_000;
    let address = SocketAddr::new(lab.server(1), 7007);
    let listener = lab.app.enter(|| Ok(TcpListener::bind(address)?))?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 300];
        for _ in 0..TIMES {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    lab.clients[0].enter(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut message = [0x80; 300];
        for _ in 0..TIMES {
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
        }
        Ok(())
    })?;
    server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    Ok(())
}
