//! What shows in many requests only, through the kernel: logins tried one after the other get their client blocked, and an office behind
//! one address does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, sockopt};
use sensor_tests::agent::Setup;
use sensor_tests::application::{Application, PORT, login};
use sensor_tests::http::{Client, Response, get};
use sensor_tests::process::wait_until;
use sensor_tests::site::{Site, address};
use serde_json::Value;

struct Town {
    site: Site,
    _application: Application,
}

impl Town {
    fn start(setup: &Setup) -> Option<Self> {
        let site = Site::start(2, setup)?;
        let application = Application::start(&site.lab.app, site.folder.path()).unwrap();
        Some(Self { site, _application: application })
    }

    /// Requests of a client over one connection, as far as they are answered.
    fn talk(&self, client: u8, requests: &[Vec<u8>]) -> Vec<Response> {
        let server = SocketAddr::new(self.site.lab.server(client), PORT);
        let talk = || {
            let mut connection = Client::connect(server)?;
            Ok(requests.iter().map_while(|request| connection.exchange(request).ok()).collect())
        };
        self.site.client(client).enter(talk).unwrap_or_default()
    }

    fn rules(&self, client: u8) -> Vec<String> {
        let alerts = self.site.agent.alerts_of(address(client, 2)).unwrap();
        alerts
            .iter()
            .map(|alert| alert["sensor"]["findings"][0]["rule"].as_str().unwrap().to_owned())
            .collect()
    }

    fn is_blocked(&self, client: u8) -> bool {
        self.site.agent.block_of(address(client, 2)).unwrap().is_some_and(|entry| entry["shadow"] == false)
    }
}

fn wrong(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| login("u7", &format!("guess{number}"))).collect()
}

#[test]
fn a_brute_force_is_blocked_and_told_with_its_counts() {
    let Some(town) = Town::start(&Setup::default()) else { return };
    town.talk(2, &wrong(4));
    assert_eq!(town.talk(2, &[login("u7", "right7")])[0].status, 302, "who mistypes gets in");
    town.talk(2, &wrong(12));
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(2)).unwrap();
    assert_eq!(alert["sensor"]["outcome"], "behaviour", "{alert}");
    assert_eq!(alert["alert"]["metadata"]["rule"][0], "login-brute-force");
    assert_eq!(alert["alert"]["action"], "blocked");
    let behaviour = &alert["sensor"]["behaviour"];
    assert_eq!(
        (&behaviour["window_secs"], &behaviour["counts"]["passwords of one user"]),
        (&300.into(), &10.into())
    );
    assert_eq!(behaviour["examples"][0], "POST /login 200");
    assert!(!alert.to_string().contains("guess"), "no password is told: {alert}");
    assert!(town.talk(2, &[get("/")]).is_empty(), "the client is not served any more");
    assert_eq!(town.talk(1, &[get("/")])[0].status, 200, "its neighbour is");
}

#[test]
fn other_thresholds_count_after_a_reload_and_nobody_is_forgotten_for_it() {
    let lenient = Setup { extra: "[actors]\nbrute_force_passwords = 60".to_owned(), ..Setup::default() };
    let Some(mut town) = Town::start(&lenient) else { return };
    town.talk(2, &wrong(20));
    // A second client shows that the first one's logins were looked at.
    let logins =
        || town.site.agent.metric("sensor_actors_logins_failed_total").is_ok_and(|logins| logins >= 20.0);
    wait_until("the logins are seen", Duration::from_secs(5), logins).unwrap();
    assert!(town.rules(2).is_empty(), "{:?}", town.rules(2));
    town.site.agent.configure(&Setup::default()).unwrap();
    town.site.agent.process().unwrap().signal(Signal::SIGHUP).unwrap();
    let again = || {
        town.talk(2, &[login("u7", "another")]);
        !town.rules(2).is_empty()
    };
    wait_until("one more login is one too many", Duration::from_secs(10), again).unwrap();
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["alert"]["metadata"]["rule"][0], "login-brute-force", "{alert}");
    let counted = &alert["sensor"]["behaviour"]["counts"]["passwords of one user"];
    assert_eq!(counted, 21, "what was counted before the reload counts: {alert}");
}

#[test]
fn an_office_behind_one_address_is_left_alone() {
    let Some(town) = Town::start(&Setup::default()) else { return };
    for number in 0..40 {
        let user = format!("u{number}");
        let mut requests = vec![login(&user, &format!("right{number}"))];
        if number % 6 == 0 {
            requests.insert(0, login(&user, &format!("rihgt{number}")));
        }
        let answers = town.talk(1, &requests);
        let session =
            answers.last().unwrap().header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let page = |target: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: app.example\r\nCookie: {session}\r\n\r\n").into_bytes()
        };
        let answers =
            town.talk(1, &[page("/home"), page(&format!("/orders/{}", 100 + number)), get("/missing")]);
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 404]);
    }
    // An attack behind it shows that everything before it was looked at.
    town.talk(2, &wrong(12));
    town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!((town.rules(1), town.is_blocked(1)), (Vec::new(), false));
}

/// Case A6.
#[test]
fn an_attacker_in_an_office_loses_its_connection_first_and_a_minute_then() {
    let Some(town) = Town::start(&Setup::default()) else { return };
    for number in 0..12 {
        let answers = town.talk(1, &[login(&format!("u{number}"), &format!("right{number}"))]);
        let session = answers[0].header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let home = format!("GET /home HTTP/1.1\r\nHost: app.example\r\nCookie: {session}\r\n\r\n");
        assert_eq!(town.talk(1, &[home.into_bytes()])[0].status, 200);
    }
    let seen = || town.site.agent.metric("sensor_actors_transactions_total").is_ok_and(|seen| seen >= 24.0);
    wait_until("the office is known", Duration::from_secs(5), seen).unwrap();
    let attack = || town.talk(1, &[get("/?q=%3Cscript%3Ealert(1)%3C/script%3E")]);
    attack();
    let alert = town.site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(
        (&alert["sensor"]["verdict"], &alert["sensor"]["blocked_until"]),
        (&"kill".into(), &Value::Null)
    );
    let sessions = alert["sensor"]["behind"]["sessions"].as_u64().unwrap();
    assert!((8..=12).contains(&sessions), "{alert}");
    let over = || {
        let ended = town.site.agent.metric("sensor_alerts_connections_ended_total").unwrap_or_default();
        ended + town.site.agent.metric("sensor_alerts_connections_over_total").unwrap_or_default() > 0.0
    };
    wait_until("the connection is ended, or was over", Duration::from_secs(3), over).unwrap();
    assert_eq!(town.talk(1, &[get("/")])[0].status, 200, "its colleagues are served");
    std::thread::sleep(Duration::from_secs(3));
    attack();
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(1)).unwrap();
}

#[test]
fn observing_and_trusted_proxies_block_nobody() {
    let capture = "trusted_proxies = [\"10.66.1.0/24\"]".to_owned();
    let Some(town) = Town::start(&Setup { capture, ..Setup::default() }) else { return };
    let proxied = |request: Vec<u8>| {
        let text = String::from_utf8(request).unwrap();
        text.replacen("\r\n\r\n", "\r\nX-Forwarded-For: 203.0.113.50\r\n\r\n", 1).into_bytes()
    };
    town.talk(1, &wrong(12).into_iter().map(proxied).collect::<Vec<_>>());
    let alert: Value = town.site.agent.wait_for_alert("203.0.113.50".parse().unwrap()).unwrap();
    assert_eq!((&alert["sensor"]["verdict"], &alert["src_ip"]), (&"exempt".into(), &"10.66.1.2".into()));
    assert!(!town.is_blocked(1));
}

#[test]
fn somebody_elses_orders_one_after_the_other() {
    let Some(town) = Town::start(&Setup::default()) else { return };
    let answers = town.talk(2, &[login("u3", "right3")]);
    let session = answers[0].header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let order = |number: usize| {
        format!("GET /orders/{number} HTTP/1.1\r\nHost: app.example\r\nCookie: {session}\r\n\r\n")
            .into_bytes()
    };
    town.talk(2, &(100..180).map(order).collect::<Vec<_>>());
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["sensor"]["class"], "ACCESS_CONTROL", "{alert}");
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(2)).unwrap();
}

#[test]
fn who_holds_many_connections_with_slow_requests_is_blocked() {
    let extra = "[limits]\nslow_request_secs = 1\n".to_owned();
    let Some(town) = Town::start(&Setup { extra, ..Setup::default() }) else { return };
    let hold = |client: u8, count: usize| {
        let server = SocketAddr::new(town.site.lab.server(client), PORT);
        let trickle = || {
            let mut held = (0..count).map(|_| Client::connect(server)).collect::<anyhow::Result<Vec<_>>>()?;
            for piece in ["GET / HTTP/1.1\r\n", "Host: app.example\r\n", "X-a: b\r\n", "X-c: d\r\n"] {
                // Whoever is blocked cannot send: that is what is wanted.
                held.iter_mut().for_each(|client| drop(client.send(piece.as_bytes())));
                std::thread::sleep(Duration::from_millis(700));
            }
            Ok(())
        };
        town.site.client(client).enter(trickle).unwrap();
    };
    hold(1, 5);
    hold(2, 40);
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["sensor"]["findings"][0]["rule"], "slow-requests", "{alert}");
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(2)).unwrap();
    assert_eq!((town.rules(1), town.is_blocked(1)), (Vec::new(), false));
}

/// A connection that asks for a large page and takes as little of it as the kernel lets it.
fn ask_and_do_not_read(server: SocketAddr) -> anyhow::Result<TcpStream> {
    const SMALLEST: usize = 1024;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    setsockopt(&socket, sockopt::RcvBuf, &SMALLEST)?;
    let SocketAddr::V4(server) = server else { anyhow::bail!("{server} is no IPv4") };
    socket::connect(socket.as_raw_fd(), &SockaddrIn::from(server))?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(&get("/large"))?;
    Ok(stream)
}

#[test]
fn r4_who_holds_many_connections_with_responses_that_are_not_read_is_blocked() {
    let extra = "[limits]\nslow_request_secs = 1\nslow_request_rate = 10000\n".to_owned();
    let Some(town) = Town::start(&Setup { extra, ..Setup::default() }) else { return };
    let hold = |client: u8, count: usize| {
        let server = SocketAddr::new(town.site.lab.server(client), PORT);
        let wait = || {
            let held = (0..count).map(|_| ask_and_do_not_read(server)).collect::<anyhow::Result<Vec<_>>>()?;
            std::thread::sleep(Duration::from_secs(4));
            drop(held);
            Ok(())
        };
        town.site.client(client).enter(wait).unwrap();
    };
    assert_eq!(town.talk(1, &vec![get("/large"); 40]).len(), 40, "who reads is served");
    hold(1, 5);
    hold(2, 40);
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["sensor"]["findings"][0]["rule"], "slow-requests", "{alert}");
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(2)).unwrap();
    assert_eq!((town.rules(1), town.is_blocked(1)), (Vec::new(), false));
    // Five, and as many as make an attack: who is blocked is not seen any more.
    let readers =
        || town.site.agent.metric("sensor_engine_slow_readers_total").is_ok_and(|count| count >= 35.0);
    wait_until("they are counted", Duration::from_secs(5), readers).unwrap();
}

const VOUCHERS: &str = r#"
[[rule]]
id = "voucher-guessing"
title = "many vouchers tried"
class = "ACCESS_CONTROL"
severity = "medium"
confidence = 0.75
[rule.behaviour]
key = ["client", "host"]
window_secs = 60
steps = [{ path = '^/missing/voucher/', status = ["404"], distinct = "path", count = 8 }]
[rule.examples]
match = [["8* +1 GET /missing/voucher/# 404"]]
no_match = [["8* +1 GET /missing/voucher/A 404"], ["8* +10 GET /missing/voucher/# 404"]]
"#;

#[test]
fn a_rule_of_the_operators_own_counts_and_blocks() {
    let Some(mut site) = Site::prepare(2, &Setup::default()) else { return };
    std::fs::write(site.agent.rules().join("vouchers.toml"), VOUCHERS).unwrap();
    site.agent.start().unwrap();
    let application = Application::start(&site.lab.app, site.folder.path()).unwrap();
    let town = Town { site, _application: application };
    town.talk(2, &(0..7).map(|number| get(&format!("/missing/voucher/{number}"))).collect::<Vec<_>>());
    town.talk(2, &(0..7).map(|number| get(&format!("/missing/voucher/{number}"))).collect::<Vec<_>>());
    town.talk(2, &[get("/missing/voucher/last")]);
    let alert = town.site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["sensor"]["findings"][0]["rule"], "voucher-guessing", "{alert}");
    assert_eq!(alert["sensor"]["findings"][0]["evidence"], "8 different values of path within 60 s");
    assert_eq!(alert["http"]["url"], "/missing/voucher/last");
    wait_until("the block", Duration::from_secs(3), || town.is_blocked(2)).unwrap();
    // Figures come once a second.
    let seen = || town.site.agent.metric("sensor_actors_transactions_total").unwrap() >= 15.0;
    wait_until("the figures", Duration::from_secs(10), seen).unwrap();
    assert_eq!(town.site.agent.metric("sensor_facts_lost_total").unwrap(), 0.0);
}
