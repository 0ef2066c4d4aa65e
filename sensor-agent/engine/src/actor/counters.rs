//! What the memory of clients counts. Names and help texts are a public contract: they become metrics.

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: u64,)* }

        impl Counters {
            pub(super) fn named(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name)),*]
            }
        }
    };
}

counters! {
    transactions: "transactions observed",
    slow_requests: "connections with a request that did not get on",
    unanswered: "transactions without a response",
    logins: "logins seen",
    logins_failed: "logins that failed",
    logins_broken: "failed logins among so many, and of clients that got in before, that the login seems to be out of order",
    findings: "findings given out",
    findings_repeated: "findings not given out again because the same was given out before",
    findings_excepted: "findings left out because an exception covers them",
    attempts_dropped: "failed logins of a client forgotten because it had too many",
    clients_evicted: "clients forgotten because there were too many",
    evicted_memory: "clients, users, routes and others forgotten because all together held too much memory",
    users_evicted: "users forgotten because there were too many",
    routes_evicted: "routes forgotten because there were too many",
    sessions_evicted: "sessions forgotten because there were too many",
    cookies_evicted: "names of session cookies forgotten because there were too many",
    issuers_evicted: "issuers of tokens forgotten because there were too many",
    behaviours_evicted: "states of behaviour rules forgotten because there were too many",
    clients_now: "clients remembered",
    routes_now: "routes remembered",
    sessions_now: "sessions remembered",
    bytes_now: "bytes of memory held",
}
