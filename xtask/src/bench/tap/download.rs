//! A large download: the tap is to copy its beginning, and to leave the rest.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use sensor_tests::lab::Lab;

use super::observer;

/// Bytes of the file: a gigabyte.
pub(super) const BYTES: u64 = 1_000_000_000;

pub(super) fn run(lab: &Lab, binary: &Path, folder: &Path) -> Result<()> {
    let mut agent = observer(lab, binary, &folder.join("agent-download"))?;
    let took = download(lab, folder)?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let captured = agent.metric("sensor_engine_captured_bytes_total")?;
    let outcome = |name: &str| agent.metric(&format!("sensor_tap_packets_total{{outcome=\"{name}\"}}"));
    println!("\na download of {BYTES} bytes in {took:.2} s");
    println!(
        "  captured               {captured:>12.0} bytes, {:.3} % (aim: under 1 %)",
        captured / BYTES as f64 * 100.0
    );
    println!(
        "  packets                {:>12.0} recorded, {:.0} skipped, {:.0} lost",
        outcome("recorded")?,
        outcome("skipped")?,
        outcome("ring_full")?
    );
    agent.stop()?;
    Ok(())
}

/// Asks for the file and reads all of it; returns the seconds that took.
pub(super) fn download(lab: &Lab, folder: &Path) -> Result<f64> {
    let file = folder.join("nginx/html/huge.bin");
    if !file.exists() {
        File::create(&file)?.set_len(BYTES)?;
    }
    let server = SocketAddr::new(lab.server(1), 80);
    let start = Instant::now();
    let read = lab.clients[0].enter(|| {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(b"GET /huge.bin HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let (mut buffer, mut total) = (vec![0; 1 << 18], 0u64);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(total),
                more => total += more as u64,
            }
        }
    })?;
    ensure!(read >= BYTES, "only {read} bytes came");
    Ok(start.elapsed().as_secs_f64())
}
