//! Clients behind a proxy, through the kernel: the alert names the client, and nobody's address is blocked for it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sensor_tests::agent::Setup;
use sensor_tests::site::{Site, address};

const ATTACK: &str = "GET /?id=1%27%20UNION%20SELECT%20password%20FROM%20users-- HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n";

/// Case A5.
#[test]
fn a5_the_client_is_named_the_proxy_is_not_blocked_and_strangers_are_not_believed() {
    let capture = "trusted_proxies = [\"10.66.1.0/24\"]".to_owned();
    let Some(site) = Site::start(2, &Setup { capture, ..Setup::default() }) else { return };
    let forwarded = format!("{ATTACK}X-Forwarded-For: 192.0.2.1, 203.0.113.50\r\n\r\n");
    site.request(1, forwarded.as_bytes()).unwrap();
    let alert = site.agent.wait_for_alert("203.0.113.50".parse().unwrap()).unwrap();
    let client = &alert["sensor"]["client"];
    assert_eq!((&client["address"], &client["source"]), (&"203.0.113.50".into(), &"x-forwarded-for".into()));
    assert_eq!((&alert["src_ip"], &alert["xff"]), (&"10.66.1.2".into(), &"203.0.113.50".into()));
    assert_eq!(
        (&alert["sensor"]["verdict"], &alert["alert"]["action"]),
        (&"exempt".into(), &"allowed".into())
    );
    let proxied = format!("PROXY TCP4 203.0.113.60 10.66.1.1 4000 80\r\n{ATTACK}\r\n");
    // nginx is not told to expect the header, and refuses the request; the sensor has seen it all the same.
    let _ = site.request(1, proxied.as_bytes());
    let alert = site.agent.wait_for_alert("203.0.113.60".parse().unwrap()).unwrap();
    assert_eq!(alert["sensor"]["client"]["source"], "proxy-protocol");
    // A stranger who says the same gets itself blocked, and not its victim.
    let _ = site.request(2, forwarded.as_bytes());
    let alert = site.agent.wait_for_alert(address(2, 2)).unwrap();
    assert_eq!(alert["sensor"]["client"]["source"], "peer");
    assert!(site.agent.block_of(address(2, 2)).unwrap().is_some());
    for unharmed in ["10.66.1.2", "203.0.113.50", "203.0.113.60", "192.0.2.1"] {
        assert!(site.agent.block_of(unharmed.parse().unwrap()).unwrap().is_none(), "{unharmed}");
    }
}
