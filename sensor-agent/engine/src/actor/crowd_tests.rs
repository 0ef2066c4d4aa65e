//! Crowds at a login: botnets, and what resembles them.

use super::Settings;
use super::tests::{Town, WRONG, address};

const WELCOME: &str = "HTTP/1.1 302 Found\nLocation: /home\nSet-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Secure; HttpOnly; SameSite=Lax";
const RULE: &str = "login-botnet";

/// Addresses of bots, apart from those of people.
fn bot(number: usize) -> String {
    format!("203.0.{}.{}", 113 + number / 250, 1 + number % 250)
}

/// A window of ten minutes in which so many people get in, and so many of them mistype first; others give up.
fn ten_minutes(town: &mut Town, people: std::ops::Range<usize>, mistypes: usize, gives_up: usize) {
    let pause = 600_000 / people.len().max(1) as u64;
    for number in people {
        let (client, user) = (address(number), format!("user{number}"));
        if number % mistypes == 0 {
            town.login(&client, &user, "tpyo", WRONG);
        }
        if number % gives_up != 0 {
            town.login(&client, &user, "right", WELCOME);
        } else {
            town.login(&client, &user, "forgotten", WRONG);
        }
        town.pass(pause);
    }
}

/// How often a botnet was told, and the surest that was.
fn told(town: &Town) -> (usize, f32) {
    (town.told_of(RULE), town.surest(RULE))
}

#[test]
fn many_clients_with_one_failure_each_are_told_once_and_never_block() {
    for users in [80, 2] {
        let mut town = Town::new();
        ten_minutes(&mut town, 0..20, 7, 1000);
        for number in 0..80 {
            let user = format!("victim{}", number % users);
            town.login(&bot(number), &user, &format!("leaked{number}"), WRONG);
            town.pass(2_000);
        }
        let (times, confidence) = told(&town);
        assert_eq!((times, confidence >= 0.6), (1, true), "{confidence}");
        let finding = town.finding(RULE);
        assert_eq!(finding.rule.response, Some(crate::finding::Response::Observe));
        assert!(finding.evidence.contains("30 clients that only failed"), "{}", finding.evidence);
    }
}

#[test]
fn a_morning_rush_is_no_botnet() {
    let mut town = Town::new();
    ten_minutes(&mut town, 1..600, 6, 25);
    assert_eq!(told(&town), (0, 0.0));
    assert!(town.counter("logins_failed") > 100);
}

#[test]
fn a_login_that_is_out_of_order_is_no_botnet() {
    let mut town = Town::new();
    ten_minutes(&mut town, 0..200, 10, 1000);
    town.pass(3_600_000);
    for number in 0..200 {
        town.login(&address(number), &format!("user{number}"), "right", WRONG);
        town.pass(1_000);
    }
    assert_eq!(told(&town), (0, 0.0));
    assert!(town.counter("logins_broken") > 100);
}

/// Where nobody is known, as after a restart of the agent, it is told as what it may be: below what blocks.
#[test]
fn nobody_who_gets_in_where_people_do_is_told_with_doubt() {
    let mut town = Town::new();
    for window in 0..5 {
        ten_minutes(&mut town, window * 60..window * 60 + 60, 10, 1000);
    }
    town.pass(1_200_000);
    for number in 1000..1100 {
        town.login(&address(number), &format!("user{number}"), "right", WRONG);
        town.pass(1_000);
    }
    assert_eq!(told(&town), (1, 0.5));
    assert!(town.finding(RULE).evidence.contains("may be out of order"));
}

#[test]
fn what_is_usual_on_a_route_is_no_botnet_and_far_beyond_it_is_one() {
    let mut town = Town::new();
    // Every third one gives up, always.
    for window in 0..6 {
        ten_minutes(&mut town, window * 120..window * 120 + 120, 1000, 3);
    }
    assert_eq!(told(&town), (0, 0.0));
    for number in 0..80 {
        town.login(&bot(number), &format!("victim{number}"), "x", WRONG);
        town.pass(200);
    }
    assert_eq!(told(&town).0, 0, "four times as many are not there yet");
    for number in 80..240 {
        town.login(&bot(number), &format!("victim{number}"), "x", WRONG);
        town.pass(200);
    }
    assert_eq!(told(&town).0, 1);
}

#[test]
fn routes_are_counted_apart_and_the_threshold_is_a_setting() {
    let login = |town: &mut Town, number: usize| {
        let line = format!("POST /{}/login", ["shop", "forum", "desk"][number % 3]);
        town.ask(&bot(number), &line, &format!("{}\n\nuser=v{number}&password=x", super::tests::FORM), WRONG);
    };
    let mut town = Town::new();
    (0..60).for_each(|number| login(&mut town, number));
    assert_eq!(told(&town).0, 0, "twenty on each");
    let mut town = Town::with(Settings { botnet_clients: 15, ..Settings::default() });
    (0..60).for_each(|number| login(&mut town, number));
    assert_eq!(told(&town).0, 3);
}
