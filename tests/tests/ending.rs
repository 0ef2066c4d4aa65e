//! A rule that asks for it ends the connection and nothing else: the client is told, and may come again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sensor_tests::agent::Setup;
use sensor_tests::http::get;
use sensor_tests::site::{Site, address};

/// Ends connections that ask for a word.
const RULES: &str = r#"
[[rule]]
id = "unwanted-word"
title = "a word that is not wanted"
class = "INPUT_VALIDATION"
severity = "high"
confidence = 0.9
response = "kill"
fields = ["query.word"]
pattern = 'unwanted'
[rule.examples]
match = ['query.word=unwanted']
no_match = ['query.word=wanted']
"#;

/// Asks over a connection that is kept, and reads until that ends or nothing comes for a while.
fn ask(site: &Site, target: &str) -> Result<usize, ErrorKind> {
    let server = SocketAddr::new(site.lab.server(1), 80);
    let read = |stream: &mut TcpStream| loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(0),
            Ok(_) => {}
            Err(error) => return Err(error.kind()),
        }
    };
    let asked = site.client(1).enter(|| {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(&get(target))?;
        Ok(read(&mut stream))
    });
    asked.unwrap()
}

#[test]
fn the_connection_is_reset_and_nobody_is_blocked() {
    let Some(mut site) = Site::prepare(1, &Setup::default()) else { return };
    fs::write(site.agent.rules().join("words.toml"), RULES).unwrap();
    site.agent.start().unwrap();
    assert_eq!(ask(&site, "/index.html?word=wanted"), Err(ErrorKind::WouldBlock), "the connection is kept");
    for _ in 0..3 {
        assert_eq!(ask(&site, "/index.html?word=unwanted"), Err(ErrorKind::ConnectionReset));
    }
    assert_eq!(site.request(1, &get("/index.html")).unwrap().status, 200);
    assert_eq!(site.agent.metric("sensor_alerts_connections_ended_total").unwrap(), 3.0);
    assert!(site.agent.block_of(address(1, 2)).unwrap().is_none());
}
