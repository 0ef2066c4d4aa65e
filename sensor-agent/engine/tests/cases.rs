//! The examples of the content cases C1 to C40, as requests through the whole engine with the content as it is shipped, and each of
//! those that are values in every place that can hold it.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "grammar/carrier.rs"]
mod carrier;
mod common;

use std::sync::Arc;

use carrier::{CARRIERS, Carrier, DISGUISES};
use common::{Wire, content};
use sensor_engine::finding::Severity;
use sensor_engine::policy::{Action, Mode, Policy};

/// Case and value, which stands in a query parameter with only what a request line cannot carry escaped.
const VALUES: &[(&str, &str)] = &[
    ("C1", "%27%20OR%20%271%27%3D%271"),
    ("C2", "%2527%2520UNION%2520SELECT%25201,2"),
    ("C2", "%25252e%252e%2fetc%2fpasswd"),
    ("C3", "%u0027%u0020or%u00201=1--"),
    ("C3", "%uff1cscript%uff1ealert(1)"),
    ("C4", "%c0%ae%c0%ae%c0%af%c0%ae%c0%ae%c0%afetc/passwd"),
    ("C4", "1%e0%80%a7%20or%201=1--"),
    ("C5", "%EF%BC%9Cscript%EF%BC%9Ealert(1)"),
    ("C5", "%CA%BC%20or%201=1--"),
    ("C6", "1'%20union%20%C5%BFelect%201,2--"),
    ("C6", "1'%20union%20sel%E2%80%8Bect%201,2--"),
    ("C7", "%zz%27%20or%201=1--"),
    ("C7", "1'%20union%20s%elect%201,2%20from%20users--"),
    ("C8", "%26%23x3c;script%26%23x3e;alert(1)"),
    ("C8", "%26%230000039%20or%201=1--"),
    ("C8", "<a%20href=java%26Tab;script%26colon;alert(1)>"),
    ("C15", "1'%20UN/**/ION/*!50000SELECT*/1,2"),
    ("C15", "1'%20union--%0aselect%201,2"),
    ("C15", "1'%20union%23x%0aselect%201,2"),
    ("C16", "1'%0bunion%0bselect%0b1,2"),
    ("C16", "1'%a0union%a0select%a01,2"),
    ("C16", "'or(1)=(1)"),
    ("C16", "1e0union(select(1))"),
    ("C16", "'||1%23"),
    ("C17", "1'%20uNiOn%20SeLeCt%201,2"),
    ("C17", "<ScRiPt>alert(1)</sCrIpT>"),
    ("C18", "'%20or%20name='ad'||'min'--"),
    ("C18", "1%20and%20CHAR(83,69)=0x5345"),
    ("C18", "1'%20and%20concat_ws(0x3a,user(),1)='x"),
    ("C19", "'-0-'"),
    ("C19", "'=''"),
    ("C19", "1%20%26%26%202>1"),
    ("C19", "1%20or%20'a'%20like%20'a'"),
    ("C19", "1%20or%20true"),
    ("C20", "'%20or%20'{\"b\":2}'::jsonb%20<@%20'{\"a\":1,\"b\":2}'::jsonb--"),
    ("C21", "1;wAiTfOr/**/dElAy'0:0:5'"),
    ("C21", "1%20and%20benchmark(1e8,md5(1))"),
    ("C21", "1'%20and%20dbms_pipe.receive_message('a',5)=1--"),
    ("C22", "1'%20union%20sel%00ect%201,2--"),
    ("C22", "shell.php%00.jpg"),
    ("C23", "<svg/onload=alert(1)>"),
    ("C23", "<img%20src=x%20onerror%0c=alert(1)>"),
    ("C23", "<details%20open%20ontoggle=alert(1)>"),
    ("C24", "<a%20href=jav%09ascript:alert(1)>"),
    ("C24", "<a%20href=data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==>"),
    ("C24", "{{constructor.constructor('alert(1)')()}}"),
    ("C25", "....//....//etc/passwd"),
    ("C25", "..%5c..%5cwindows%5cwin.ini"),
    ("C27", ";c''at${IFS}/e?c/p*d"),
    ("C27", "{cat,/etc/passwd}"),
    ("C27", "$(printf%20'id')"),
    ("C27", "x%0aid"),
    ("C27", "`id`"),
    ("C28", "${${lower:j}ndi:${::-l}dap://x}"),
    ("C28", "${jndi:${env:X:-l}dap://x}"),
    ("C29", "JyBvciAxPTEtLQ=="),
    ("C29", "2720756e696f6e2073656c65637420312c322066726f6d2075736572732d2d"),
    ("C40", "http://0x7f.1/"),
    ("C40", "http://2130706433/"),
    ("C40", "http://[::ffff:127.0.0.1]/"),
    ("C40", "http://169.254.169.254.nip.io/"),
    ("C40", "http://%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1/"),
];

/// Case and whole request, with `\r\n` where a line ends; `{n}` stands for the length of what follows the empty line.
const REQUESTS: &[(&str, &str)] = &[
    (
        "C9",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{\"a\":\"\\u0027 \\u006fr 1=1--\"}",
    ),
    (
        "C10",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{\"a\":\"x\",\"a\":\"' or 1=1--\"}",
    ),
    (
        "C10",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{/* x */'a':'1 union select 1,2 from users'}",
    ),
    ("C11", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {n}\r\n\r\n{\"field1\":\"' and 1=1 --\"}"),
    (
        "C11",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: {n}\r\n\r\nq=1'+union+select+1,2--",
    ),
    ("C12", "GET /?id=1%20UNION/*&id=*/SELECT%201,2 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C13", "GET /?id[$ne]=1 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C13", "GET /?a[__proto__][x]=1 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C13", "GET /?<script>alert(1)</script>=1 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C14", "GET /?a=1;id='%20or%201=1-- HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C14", "GET /?a=1?id='%20or%201=1-- HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C25", "GET /a/..;/..;/..;/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C25", "GET /%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /a/..;/admin HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /admin;x=1/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /admin/. HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /admin%2f HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /ADMIN HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C26", "GET /a.jsp%20 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("C28", "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: ${jndi:ldap://x}\r\n\r\n"),
    (
        "C31",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-7\r\nContent-Length: {n}\r\n\r\na=+ADw-script+AD4-alert(1)",
    ),
    (
        "C32",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary*0=re;boundary*1=al\r\nContent-Length: {n}\r\n\r\n--real\r\nContent-Disposition: form-data; name=a\r\n\r\n1' union select 1,2--\r\n--real--",
    ),
    (
        "C33",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {n}\r\n\r\n--b\r\nContent-Disposition: form-data; name=a; filename*=UTF-8''sh%2ephp\r\n\r\nx\r\n--b--",
    ),
    (
        "C34",
        "POST / HTTP/1.1\r\nHost: h\r\nCntent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{\"a\":\"' or 1=1--\"}",
    ),
    (
        "C35",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: {n}\r\n\r\n<a>1' UN<![CDATA[ION SEL]]>ECT 1,2--</a>",
    ),
    (
        "C35",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {n}\r\n\r\n<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    ),
    ("C36", "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=\"\\047 or 1=1--\"\r\n\r\n"),
    ("C36", "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=\"\\047 \\157r 1=1--\"\r\n\r\n"),
    ("C36", "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=\"x; ' or 1=1--\"\r\n\r\n"),
    (
        "C36",
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: $Version=1; $Path=\"/\"; a=\"1; b=' union select 1,2--\"\r\n\r\n",
    ),
    ("C36", "GET / HTTP/1.1\r\nHost: h\r\nCookie: $Version=1; a=1\r\nCookie: b=' or 1=1--\r\n\r\n"),
    (
        "C39",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\r\n{\"query\":\"{user(id:\\\"1' or 1=1--\\\"){n}}\"}",
    ),
    ("C39", "GET / HTTP/1.1\r\nHost: h\r\nCookie: c={%22a%22:%22'%20or%201=1--%22}\r\n\r\n"),
];

fn raw(request: &str) -> Vec<u8> {
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    request.replacen("{n}", &body.len().to_string(), 1).into_bytes()
}

#[test]
fn examples_are_found() {
    let values =
        VALUES.iter().map(|(case, value)| (*case, format!("GET /?q={value} HTTP/1.1\r\nHost: h\r\n\r\n")));
    let requests = REQUESTS.iter().map(|(case, request)| (*case, (*request).to_owned()));
    let mut wire = Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() }));
    let missed: Vec<_> = values
        .chain(requests)
        .filter(|(_, request)| {
            let records = wire.records(&raw(request));
            wire.run(&records).is_empty()
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Case C39: the examples that are text in all places, at every depth.
#[test]
fn examples_are_blocked_wherever_they_stand() {
    let mut wire = Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() }));
    let (mut missed, mut tried) = (Vec::new(), 0);
    for (case, value) in VALUES {
        let Ok(text) = percent_encoding::percent_decode_str(value).decode_utf8() else { continue };
        let places = CARRIERS.iter().chain(DISGUISES);
        for carrier in places.filter(|carrier| carrier.name != "target" && can_hold(carrier, case, &text)) {
            tried += 1;
            let records = wire.records(&carrier.request(&text));
            let blocks =
                |report: &sensor_engine::engine::Report| matches!(report.verdict.action, Action::Block(_));
            if !wire.run(&records).iter().any(blocks) {
                missed.push(format!("{case} [{}] {text:?}", carrier.name));
            }
        }
    }
    assert!(missed.is_empty(), "{} of {tried}\n{}", missed.len(), missed.join("\n"));
}

/// A header holds no control characters, what is short is no text in base64, an address is no name, and one word in the place of a token
/// is a token.
fn can_hold(carrier: &Carrier, case: &str, text: &str) -> bool {
    let header = carrier.name.starts_with("x-") || carrier.name.starts_with("user-agent");
    let token = carrier.name == "x-authorization" && !text.contains(' ');
    // Hexadecimal digits of digits are a number.
    let number = carrier.name == "hexadecimal query" && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = case == "C40" && (header || carrier.name.contains(" name"));
    let controls = header && text.contains(|letter: char| letter.is_control());
    let cannot = address || number || token || controls || text.len() < carrier.least;
    !cannot
}

/// The same carriers around what people send.
#[test]
fn their_carriers_are_nothing() {
    let requests = REQUESTS.iter().map(|(_, request)| *request).filter(|request| request.starts_with("POST"));
    let plain = requests.filter_map(|request| request.split_once("\r\n\r\n")).map(|(head, _)| head);
    let usual = plain
        .filter(|head| !head.contains("boundary") && !head.contains("utf-7") && !head.contains("Cntent"));
    let mut wire = Wire::new(content(), Arc::new(Policy { mode: Mode::Enforce, ..Policy::default() }));
    for head in usual {
        let records =
            wire.records(&raw(&format!("{head}\r\n\r\n{{\"a\": \"O'Reilly -- union of workers\"}}")));
        let found: Vec<_> = wire.run(&records).into_iter().flat_map(|report| report.findings).collect();
        let severe: Vec<_> = found.iter().filter(|finding| finding.severity <= Severity::Medium).collect();
        assert!(severe.is_empty(), "{head} {severe:#?}");
    }
}
