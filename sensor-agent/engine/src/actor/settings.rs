//! Limits and thresholds of the memory of clients. Each has a name, a default and a range; the shell reads them by these names.

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $name:ident: $default:literal, $least:literal..=$most:literal;)*) => {
        /// Limits and thresholds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $($(#[doc = $help])+ pub $name: u64,)* }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default),* }
            }
        }

        impl Settings {
            /// Name and range of each, in a fixed order.
            pub const RANGES: &[Range] = &[$(Range { name: stringify!($name), least: $least, most: $most }),*];

            /// The value of this name.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

/// Name and range of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Name.
    pub name: &'static str,
    /// Least value.
    pub least: u64,
    /// Greatest value.
    pub most: u64,
}

settings! {
    /// Bytes of memory for all of it; of what there is most, the one unused for longest makes room (`evicted_memory`).
    max_bytes: 67_108_864, 1_048_576..=17_179_869_184;
    /// Clients remembered (`clients_evicted`). Addresses of one IPv6 /64 are one client.
    max_clients: 32_768, 16..=16_777_216;
    /// Users whose logins fail (`users_evicted`).
    max_users: 16_384, 16..=16_777_216;
    /// Routes: hosts and paths with placeholders for numbers (`routes_evicted`).
    max_routes: 8_192, 16..=1_048_576;
    /// Sessions (`sessions_evicted`).
    max_sessions: 65_536, 16..=16_777_216;
    /// Names of session cookies by host (`cookies_evicted`).
    max_cookies: 1_024, 16..=1_048_576;
    /// Issuers of tokens (`issuers_evicted`).
    max_issuers: 1_024, 16..=1_048_576;
    /// States of behaviour rules (`behaviours_evicted`).
    max_behaviours: 32_768, 16..=16_777_216;
    /// Seconds for which a client's finding is not told again unless it gets surer.
    quiet_secs: 300, 1..=86_400;
    /// Seconds within which logins are counted.
    login_secs: 300, 10..=86_400;
    /// Failed passwords of one user by one client that are a brute force.
    brute_force_passwords: 10, 2..=100;
    /// Users of failed logins by one client that are credential stuffing, if most logins fail.
    stuffing_users: 15, 3..=80;
    /// Users of failed logins by one client with few passwords that are a spraying.
    spraying_users: 10, 3..=80;
    /// Clients that fail with different passwords of one user that are a distributed brute force.
    distributed_clients: 8, 2..=30;
    /// Clients that only fail to log in on one route that are a botnet, if they are far more than usual there.
    botnet_clients: 30, 5..=100;
    /// Users that one client asks about that are an enumeration.
    enumeration_users: 20, 3..=80;
    /// Failed passwords of one user before a success that make it a finding.
    success_after: 6, 2..=100;
    /// Refused tokens of one client that are a guessing.
    token_guesses: 20, 3..=80;
    /// Seconds within which paths and objects are counted.
    browse_secs: 60, 10..=3_600;
    /// Missing paths asked for by one client that are forced browsing, if they are most of what it asks for.
    browse_paths: 30, 5..=200;
    /// Missing paths with names that scanners look for.
    probe_names: 4, 2..=30;
    /// Objects of one route asked for by one client that are a walk, if they follow each other or exceed the route's habit.
    walk_objects: 40, 5..=100;
    /// Clients by which a route's habit is known.
    habit_clients: 5, 2..=8;
    /// Authenticated successes after which a route counts as protected, if anonymous requests were refused.
    protected_after: 10, 2..=1_000_000;
    /// Requests with an anti-forgery token after which one is missed.
    csrf_after: 20, 2..=1_000_000;
    /// Seconds within which a session is used by two clients at once.
    share_secs: 600, 10..=86_400;
    /// Sessions issued under a name before an unknown id counts as one that was never issued.
    sessions_known_after: 20, 1..=1_000_000;
    /// Seconds within which rules are counted.
    attack_secs: 300, 10..=86_400;
    /// Rules found in requests of one client that together are a finding.
    attack_rules: 6, 2..=30;
    /// Tokens with a private key's signature after which one with a shared secret's is a finding.
    jwt_after: 10, 1..=1_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_ranges() {
        let mut settings = Settings::default();
        for range in Settings::RANGES {
            let value = *settings.get_mut(range.name).unwrap();
            assert!((range.least..=range.most).contains(&value), "{range:?}");
        }
        assert_eq!(settings.get_mut("none"), None);
    }
}
