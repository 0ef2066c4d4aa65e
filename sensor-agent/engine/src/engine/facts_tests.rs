//! Facts of transactions as engines give them out: dialogs as text in, one line for each transaction that is over out.

use super::Settings;
use super::tests::Dialog;
use crate::facts::Key;
use crate::http::http2::PREFACE;
use crate::http::http2::frame::tests::frame;

/// The facts of a dialog, in the order in which they were given out.
fn facts(script: &str) -> Vec<String> {
    let settings = Settings { facts: Some(Key::default()), ..Settings::default() };
    let (log, stats) = Dialog { settings, ..Dialog::default() }.run(script);
    let told: Vec<_> =
        log.into_iter().filter_map(|line| Some(line.strip_prefix("FACTS ")?.to_owned())).collect();
    assert_eq!(stats.named("facts"), told.len() as u64);
    told
}

const LOGIN: &str = r"POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\nuser=a&password=b";

#[test]
fn each_transaction_is_told_once_with_its_own_response() {
    let script = r">> GET /a?b HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n
        << HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello
        >> GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n
        << HTTP/1.1 204 OK\r\n\r\n";
    assert_eq!(facts(script), ["0 GET /a 404 2 None", "1 GET /c 200 5 None", "2 GET / 204 0 None found"]);
}

#[test]
fn what_a_login_comes_to_stands_in_the_body() {
    let answer = |text: &str| {
        format!(
            r"<< HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let outcome = |text: &str| facts(&format!(">> {LOGIN}\n{}", answer(text)));
    assert_eq!(outcome("<p>wrong password</p>"), ["0 POST /login 200 21 Failed(Password)"]);
    let cookie =
        r"<< HTTP/1.1 302 Found\r\nLocation: /home\r\nSet-Cookie: sid=1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(facts(&format!(">> {LOGIN}\n{cookie}")), ["0 POST /login 302 0 Succeeded"]);
    // A coding hides nothing.
    let chunked =
        r"<< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nlogin \r\n6\r\nfailed\r\n0\r\n\r\n";
    assert_eq!(facts(&format!(">> {LOGIN}\n{chunked}")), ["0 POST /login 200 12 Failed(Refused)"]);
}

#[test]
fn early_and_missing_answers() {
    let (head, body) = LOGIN.split_at(LOGIN.len() - 8);
    let early = format!(
        ">> {head}\n<< HTTP/1.1 401 No\\r\\nContent-Length: 0\\r\\n\\r\\n\n>> {body}\n>> fin\n<< fin"
    );
    assert_eq!(facts(&early), ["0 POST /login 401 0 None"], "what came of it until then");
    assert_eq!(facts(&format!(">> {LOGIN}\n>> fin\n<< fin\nwait 3000")), ["0 POST /login 0 0 Unknown"]);
    assert_eq!(
        facts(">> GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n\n<< HTTP/1.1 100 Go\\r\\n\\r\\n"),
        Vec::<String>::new()
    );
}

#[test]
fn streams_are_transactions_too() {
    let escaped = |wire: &[u8]| wire.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let ask = [
        PREFACE.to_vec(),
        frame(4, 0, 0, b""),
        frame(1, 5, 1, b"\x82\x84\x86\x41\x01h"),
        frame(1, 5, 3, b"\x82\x04\x02/x\x86\x41\x01h"),
    ];
    // The second stream is answered first.
    let answer =
        [frame(4, 0, 0, b""), frame(1, 5, 3, b"\x8d"), frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"hello")];
    let script = format!(">> {}\n<< {}", escaped(&ask.concat()), escaped(&answer.concat()));
    assert_eq!(facts(&script), ["1 GET /x 404 0 None", "0 GET / 200 5 None"]);
}

#[test]
fn nobody_asks_and_nothing_is_told() {
    let (log, stats) =
        Dialog::default().run(&format!(">> {LOGIN}\n<< HTTP/1.1 401 No\\r\\nContent-Length: 0\\r\\n\\r\\n"));
    assert!(!log.iter().any(|line| line.starts_with("FACTS")), "{log:?}");
    assert_eq!(stats.named("facts"), 0);
}
