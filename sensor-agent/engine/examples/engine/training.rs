//! What a profile-guided build of the engine learns from: a site's traffic, every example of every rule, what the fuzz targets start from,
//! and bodies and streams made to be slow. None of it is the mixed traffic that `throughput` measures, so that the figure is not that
//! of a lesson learned by heart.

use std::sync::Arc;

use sensor_engine::engine::Settings;
use sensor_engine::facts::Key;
use sensor_engine::rule::RuleSet;

use crate::traffic::{self, Exchange, HTML_ANSWER, JSON_ANSWER};
use crate::{bodies, common, complexity, inputs};

/// Times that the rules are compiled, which runs their examples.
const COMPILED: usize = 20;
/// Times that each input of a fuzz target is read.
const READ: usize = 100;

/// Bodies of each kind that is slow.
const SLOW: usize = 60;

macro_rules! from_browser {
    ($first:literal, $more:literal) => {
        concat!(
            $first,
            " HTTP/1.1\r\nHost: journal.example\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"141\", \"Not?A_Brand\";v=\"8\"\r\n\
             sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Windows\"\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) \
             AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\n\
             Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://journal.example/2026/07/\r\nAccept-Encoding: gzip, \
             deflate, br\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.7\r\nCookie: sid=s%3Ak2Jw8rTqV0pXyZ4LmN7b.Qe1; _visit=1.2.1789012345; \
             lang=de\r\n",
            $more
        )
    };
}

const NOT_MODIFIED: &str = "HTTP/1.1 304 Not Modified\r\nServer: Caddy\r\nETag: \"5f2e\"\r\nContent-Length: ";
const CREATED: &str = "HTTP/1.1 201 Created\r\nServer: Caddy\r\nLocation: /drafts/12\r\nVary: Origin, Cookie\r\nContent-Type: \
    application/json; charset=utf-8\r\nContent-Length: ";
const SIGNED_IN: &str = "HTTP/1.1 303 See Other\r\nLocation: /desk\r\nSet-Cookie: sid=s%3Ab7Uq; Path=/; HttpOnly; Secure; \
    SameSite=Lax\r\nContent-Length: ";

/// A journal: its pages, its programs' calls, who writes for it, and who tries it.
const SITE: &[Exchange] = &[
    exchange(
        30,
        from_browser!("GET /2026/07/how-bridges-age?from=newsletter&utm_source=mail%20list", "\r\n"),
        HTML_ANSWER,
        6000,
    ),
    exchange(
        18,
        from_browser!("GET /assets/site.5f2e.css", "If-None-Match: \"5f2e\"\r\n\r\n"),
        NOT_MODIFIED,
        0,
    ),
    exchange(
        10,
        from_browser!("GET /suche?q=br%C3%BCcken+beton&jahr=2026&seite=2", "\r\n"),
        HTML_ANSWER,
        3000,
    ),
    exchange(
        8,
        "GET /api/v2/articles/1093/comments?limit=20&after=c_55aa HTTP/1.1\r\nhost: api.journal.example\r\nuser-agent: okhttp/4.12.0\r\n\
         accept: application/json\r\nauthorization: Bearer tQ7m2ZpX0aVb9LkE4yRw\r\naccept-encoding: gzip\r\n\r\n",
        JSON_ANSWER,
        900,
    ),
    exchange(
        12,
        from_browser!(
            "POST /api/events",
            "Content-Type: application/json\r\nContent-Length: 232\r\n\r\n{\"events\":[{\"type\":\"view\",\"at\":1789012345678,\"page\":\
             \"/2026/07/how-bridges-age\",\"width\":1440,\"ref\":null},{\"type\":\"scroll\",\"depth\":0.82,\"page\":\
             \"/2026/07/how-bridges-age\"}],\"visit\":\"b5c1f7d2-41aa-4b0e-9d3c-77e01c5a9f10\",\"consent\":true}"
        ),
        JSON_ANSWER,
        12,
    ),
    exchange(
        4,
        from_browser!(
            "PUT /api/drafts/12",
            "Content-Type: application/json\r\nContent-Length: 254\r\n\r\n{\"title\":\"How bridges age\",\"tags\":[\"concrete\",\"salt & \
             frost\"],\"body\":\"Water gets in where it can; then it freezes. \\\"Nobody looked,\\\" said the engineer -- and she was \
             right.\\nSee https://papers.example/bridges?id=7#fig2.\",\"published\":false,\"revision\":12}"
        ),
        CREATED,
        80,
    ),
    exchange(
        6,
        from_browser!(
            "POST /2026/07/how-bridges-age/comments",
            "Origin: https://journal.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 160\r\n\r\n\
             name=J%C3%B6rg+Tanaka&mail=jt%40mail.example&text=I+read+this+twice%2C+and+it%27s+still+the+best+piece+on+the+subject.\
             %0D%0AThanks%21&token=Zk3v9QpX2mB7&reply=0"
        ),
        SIGNED_IN,
        0,
    ),
    exchange(
        3,
        from_browser!(
            "POST /graphql",
            "Content-Type: application/json\r\nContent-Length: 87\r\n\r\n{\"query\":\"query($n:Int!){articles(first:$n){title \
             author{name}}}\",\"variables\":{\"n\":10}}"
        ),
        JSON_ANSWER,
        1500,
    ),
    exchange(
        3,
        from_browser!(
            "POST /desk/portrait",
            "Content-Type: multipart/form-data; boundary=x7\r\nContent-Length: 186\r\n\r\n--x7\r\nContent-Disposition: form-data; \
             name=\"title\"\r\n\r\nPortrait\r\n--x7\r\nContent-Disposition: form-data; name=\"file\"; filename=\"me.gif\"\r\nContent-Type: \
             image/gif\r\n\r\nGIF89a..!.....;\r\n--x7--\r\n"
        ),
        SIGNED_IN,
        0,
    ),
    exchange(4, "HEAD / HTTP/1.1\r\nHost: journal.example\r\nUser-Agent: probe/2\r\n\r\n", NOT_MODIFIED, 0),
    exchange(
        1,
        from_browser!("GET /suche?q=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "\r\n"),
        HTML_ANSWER,
        900,
    ),
    exchange(
        1,
        "GET /download?file=../../../../etc/passwd HTTP/1.1\r\nHost: journal.example\r\nUser-Agent: curl/8.14.1\r\n\r\n",
        HTML_ANSWER,
        300,
    ),
];

const fn exchange(
    share: u32,
    request: &'static str,
    answer_head: &'static str,
    answer_bytes: usize,
) -> Exchange {
    Exchange { share, request, answer_head, answer_bytes }
}

/// Runs all of it. What it counts is written by the compiler's own instruments when the program ends.
pub(crate) fn run() {
    let rules = common::content();
    (1..COMPILED).for_each(|_| drop(common::content()));
    let service = Settings { facts: Some(Key::default()), ..Settings::default() };
    traffic::run(SITE, &rules, 1000, service);
    traffic::run(SITE, &rules, 20_000, Settings::default());
    traffic::run(traffic::SMALL, &rules, 1, Settings::default());
    hostile(&rules);
}

fn hostile(rules: &Arc<RuleSet>) {
    bodies::each(SLOW, rules);
    complexity::each(rules);
    inputs::each(READ);
}
