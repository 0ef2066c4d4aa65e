//! An hour of an ordinary site with some hundred clients: people who browse, log in, mistype and forget; an office behind one address; phones that
//! change networks; programs with keys; crawlers and health checks. Nobody is found. Then an attacker among them, who is.

use std::sync::Arc;

use super::tests::{DENIED, FORM, MISSING, OK, Town, WRONG, address};
use crate::rule::{RuleSet, RuleSource};

/// The rules about behaviour that come with the sensor.
const SHIPPED: &str = include_str!("../../../../rules/behaviour.toml");

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn session(&mut self) -> String {
        (0..4).map(|_| format!("{:08x}", self.roll(1 << 31))).collect()
    }
}

/// One who visits the site with a browser.
struct Visitor {
    address: String,
    agent: String,
    session: Option<String>,
    name: String,
}

impl Visitor {
    fn headers(&self, referer: bool) -> String {
        let cookie =
            self.session.as_ref().map(|id| format!("\nCookie: session={id}; theme=dark")).unwrap_or_default();
        let referer = if referer { "\nReferer: https://shop.example/list" } else { "" };
        format!("User-Agent: {}{cookie}{referer}", self.agent)
    }

    fn login(&mut self, town: &mut Town, dice: &mut Dice) {
        for _ in 0..[0, 0, 0, 0, 0, 0, 1, 1, 2, 4][dice.roll(10) as usize] {
            let wrong = format!("user={}&password=typo{}", self.name, dice.roll(1000));
            town.ask(
                &self.address,
                "POST /login",
                &format!("{}\n{FORM}\n\n{wrong}", self.headers(true)),
                WRONG,
            );
        }
        let id = dice.session();
        let body =
            format!("{}\n{FORM}\n\nuser={}&password=right{}", self.headers(true), self.name, self.name);
        let cookie = format!("Set-Cookie: session={id}; Secure; HttpOnly; SameSite=Lax");
        town.ask(
            &self.address,
            "POST /login",
            &body,
            &format!("HTTP/1.1 302 Found\nLocation: /home\n{cookie}"),
        );
        self.session = Some(id);
    }

    fn visit(&mut self, town: &mut Town, dice: &mut Dice) {
        let headers = self.headers(true);
        match dice.roll(12) {
            0 if self.session.is_none() => self.login(town, dice),
            0..=3 => {
                town.ask(&self.address, &format!("GET /items/{}", dice.roll(5_000)), &headers, OK);
                for asset in 0..dice.roll(12) {
                    let response = if dice.roll(30) == 0 { MISSING } else { OK };
                    town.ask(&self.address, &format!("GET /assets/{asset}.js"), &headers, response);
                }
            }
            4 if self.session.is_some() => {
                let order = 1000 + self.name.len() as u64 * 10 + dice.roll(3);
                town.ask(&self.address, &format!("GET /orders/{order}"), &headers, OK);
            }
            5 if self.session.is_some() => {
                let body = format!("Origin: https://shop.example\n{headers}\n{FORM}\n\ncsrf_token=1&mail=x");
                town.ask(&self.address, "POST /account/mail", &body, OK);
            }
            6 if self.session.is_none() => {
                town.ask(&self.address, "GET /home", &headers, "HTTP/1.1 302 Found\nLocation: /login");
            }
            7 => town.ask(
                &self.address,
                &format!("GET /old/page-{}", dice.roll(9)),
                &self.headers(false),
                MISSING,
            ),
            8 => town.ask(&self.address, &format!("GET /search?q=tea{}", dice.roll(50)), &headers, OK),
            _ => town.ask(&self.address, "GET /", &headers, OK),
        }
    }
}

/// Programs: a client of the API with its key, one that polls with a key that ran out, a crawler, a health check.
fn programs(town: &mut Town, dice: &mut Dice, minute: u64) {
    for item in 0..12 {
        town.ask(
            "192.0.2.10",
            &format!("GET /api/items/{}", minute * 12 + item),
            "Authorization: Bearer key10",
            OK,
        );
        town.ask("192.0.2.11", "GET /api/queue", "Authorization: Bearer old", "HTTP/1.1 401 No");
        let response = if dice.roll(8) == 0 { MISSING } else { OK };
        town.ask("192.0.2.12", &format!("GET /articles/{}", minute * 12 + item), "User-Agent: bot", response);
        town.ask("192.0.2.13", "GET /health", "", OK);
        town.ask("192.0.2.14", &format!("PUT /api/metrics/{item}"), "X-API-Key: k", OK);
    }
}

/// An hour; `among` is called each minute.
fn hour(mut among: impl FnMut(&mut Town, u64)) -> Town {
    let (mut town, mut dice) = (Town::new(), Dice(7));
    let rules = RuleSet::compile(&[RuleSource { name: "behaviour.toml", text: SHIPPED }]).unwrap();
    town.actors.replace_rules(Arc::new(rules));
    let mut visitors: Vec<Visitor> = (0..300)
        .map(|number| Visitor {
            // Every third one sits in one of two offices.
            address: if number % 3 == 0 {
                format!("203.0.113.{}", 200 + number % 2)
            } else {
                address(number)
            },
            agent: format!("Mozilla/5.0 ({})", number % 17),
            session: None,
            name: format!("user{number}"),
        })
        .collect();
    for minute in 0..60 {
        for _ in 0..600 {
            let number = dice.roll(300) as usize;
            visitors[number].visit(&mut town, &mut dice);
            if number % 10 == 1 && dice.roll(20) == 0 {
                visitors[number].address = address(dice.roll(10_000) as usize);
            }
            town.pass(100);
        }
        programs(&mut town, &mut dice, minute);
        among(&mut town, minute);
    }
    town
}

#[test]
fn an_ordinary_hour_is_silent() {
    let town = hour(|_, _| {});
    town.check(&[]);
    assert!(town.counter("logins_failed") > 50 && town.counter("transactions") > 40_000);
}

#[test]
fn attackers_among_ordinary_clients_are_found_and_nobody_else() {
    let town = hour(|town, minute| match minute {
        20 => (0..14).for_each(|number| town.login("198.18.0.1", "user7", &format!("g{number}"), WRONG)),
        30 => {
            (0..60).for_each(|number| town.ask("198.18.0.2", &format!("GET /{number}-admin-x"), "", MISSING));
        }
        40 => (0..60).for_each(|number| {
            town.ask("198.18.0.3", &format!("GET /orders/{}", 4000 + number), "Cookie: session=aa", DENIED);
        }),
        50 => (0..25).for_each(|number| {
            town.login("198.18.0.4", &format!("user{number}"), &format!("leaked{number}"), WRONG);
        }),
        _ => {}
    });
    let mut found = town.rules();
    found.retain(|rule| !rule.ends_with("probe-names"));
    let expected = [
        "198.18.0.1 login-brute-force",
        "198.18.0.2 forced-browsing",
        "198.18.0.3 object-walk",
        "198.18.0.3 forced-browsing",
        "198.18.0.4 login-credential-stuffing",
    ];
    assert!(expected.iter().all(|rule| found.iter().any(|known| known == rule)), "{found:?}");
    assert!(found.iter().all(|rule| rule.starts_with("198.18.0.")), "{found:?}");
}
