//! The detectors that are code: their identities, as rules have them. They stand in one table, so that lists of rules,
//! exemptions by id and documents see them like the rules of the content.

use std::sync::Arc;

use crate::finding::{Class, RuleInfo, Severity};
use crate::rule::number_of;

macro_rules! builtins {
    ($($code:ident: $id:literal, $title:literal, $class:ident, $severity:ident, [$($tag:literal),*];)*) => {
        /// A coded detection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Code { $($code),* }

        /// All coded detections, in the order of [`Code`].
        pub const BUILTINS: &[Builtin] = &[$(
            Builtin {
                id: $id, title: $title, class: Class::$class, severity: Severity::$severity, tags: &[$($tag),*],
            }
        ),*];
    };
}

/// Identity of a coded detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Stable identifier.
    pub id: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// Attack class.
    pub class: Class,
    /// How bad.
    pub severity: Severity,
    /// Tags.
    pub tags: &'static [&'static str],
}

builtins! {
    SqlUnion: "sql-union-select", "UNION SELECT joined to a query", SqlInjection, Critical, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlStacked: "sql-stacked-query", "second statement after a semicolon", SqlInjection, Critical, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlTime: "sql-time-delay", "time delay in SQL", SqlInjection, Critical, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlBoolean: "sql-boolean", "always-true or probing condition", SqlInjection, Critical, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlExpression: "sql-expression", "expression behind a closed string", SqlInjection, High, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlComment: "sql-comment", "rest of a query cut off by a comment", SqlInjection, High, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlProcedure: "sql-procedure", "stored procedure call", SqlInjection, Critical, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlProbe: "sql-probe", "ORDER BY, GROUP BY or LIMIT probing", SqlInjection, High, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlSubquery: "sql-subquery", "SELECT inside a value", SqlInjection, High, ["attack-sqli", "CWE-89", "OWASP-A03"];
    SqlFunction: "sql-function", "database function that attacks use", SqlInjection, High, ["attack-sqli", "CWE-89", "OWASP-A03"];
    HtmlTag: "xss-markup", "active HTML element", InputValidation, High, ["attack-xss", "CWE-79", "OWASP-A03"];
    HtmlHandler: "xss-event-handler", "event handler attribute", InputValidation, High, ["attack-xss", "CWE-79", "OWASP-A03"];
    HtmlScheme: "xss-script-url", "URL that runs script", InputValidation, High, ["attack-xss", "CWE-79", "OWASP-A03"];
    ShellCommand: "shell-command", "shell command behind a separator", InputValidation, Critical, ["attack-rce", "CWE-78", "OWASP-A03"];
    JwtNone: "jwt-alg-none", "JWT without a signature algorithm", Jwt, Critical, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtUnsigned: "jwt-empty-signature", "JWT whose signature is empty", Jwt, Critical, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtMalformed: "jwt-malformed", "malformed JWT", Jwt, Medium, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtKid: "jwt-kid-injection", "injection through the JWT key id", Jwt, Critical, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtKeyHeader: "jwt-key-header", "JWT that brings its own key", Jwt, High, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtClaims: "jwt-claims", "JWT without usual claims", Jwt, Low, ["attack-jwt", "CWE-347", "OWASP-A07"];
    JwtTime: "jwt-time", "JWT that is expired or not valid yet", Jwt, Medium, ["attack-jwt", "CWE-613", "OWASP-A07"];
    AuthBearer: "auth-bearer-placeholder", "bearer token that is no token", AuthBypass, High, ["attack-auth", "CWE-287", "OWASP-A07"];
    AuthBearerForm: "auth-bearer-malformed", "malformed bearer token", AuthBypass, Medium, ["attack-auth", "CWE-287", "OWASP-A07"];
    AuthRewrite: "auth-rewrite-header", "header that replaces the request's path", AuthBypass, High, ["attack-auth", "CWE-290", "OWASP-A01"];
    AuthLoopback: "auth-loopback-header", "header that claims a local client", AuthBypass, High, ["attack-auth", "CWE-290", "OWASP-A01"];
    AuthMethod: "auth-method-override", "header that replaces the request's method", AuthBypass, Medium, ["attack-auth", "CWE-650", "OWASP-A01"];
    AuthWalk: "auth-identity-walk", "identity parameter that walks to another one", AuthBypass, High, ["attack-auth", "CWE-639", "OWASP-A01"];
    AuthRepeated: "auth-identity-repeated", "identity parameter given twice", AuthBypass, Medium, ["attack-access", "CWE-235", "OWASP-A01"];
    Csrf: "csrf-foreign-origin", "state change with cookies from another site", Csrf, High, ["attack-csrf", "CWE-352", "OWASP-A01"];
    Smuggling: "protocol-smuggling", "framing on which servers differ", InputValidation, High, ["attack-protocol", "CWE-444", "OWASP-A05"];
    NulByte: "protocol-nul-byte", "NUL byte in a request head", InputValidation, High, ["attack-protocol", "CWE-158", "OWASP-A03"];
    HostOdd: "protocol-host", "more than one host, or none that is one", InputValidation, Medium, ["attack-protocol", "CWE-444", "OWASP-A05"];
    Malformed: "protocol-malformed", "request that no ordinary client writes", InputValidation, Low, ["attack-protocol", "CWE-20", "OWASP-A05"];
    Protocol: "protocol-violation", "request that breaks rules which every ordinary client keeps", InputValidation, Medium, ["attack-protocol", "CWE-444", "OWASP-A05"];
    Overlap: "tcp-overlap-conflict", "segments that contradict each other", InputValidation, Medium, ["attack-evasion", "CWE-693", "OWASP-A05"];
    Http2Flood: "protocol-http2-flood", "HTTP/2 connection of frames that are work only", InputValidation, High, ["attack-dos", "CWE-400", "OWASP-A05"];
    GraphQlAbuse: "graphql-abuse", "GraphQL request that multiplies work or attempts", InputValidation, Medium, ["attack-graphql", "CWE-770", "OWASP-A04"];
    BodyBomb: "protocol-body-bomb", "body that grows without end when it is unpacked", InputValidation, High, ["attack-protocol", "CWE-409", "OWASP-A05"];
    SessionFixed: "session-fixation-link", "session id in a link from another site", Session, High, ["attack-session", "CWE-384", "OWASP-A07"];
    ExposedCard: "exposed-card-number", "number of a payment card in a response", DataExposure, High, ["leak-data", "CWE-359", "OWASP-A01"];
    ExposedAccount: "exposed-account-number", "bank account number in a response", DataExposure, Medium, ["leak-data", "CWE-359", "OWASP-A01"];
    ExposedKey: "exposed-private-key", "private key in a response", DataExposure, Critical, ["leak-secret", "CWE-321", "OWASP-A02"];
    ExposedToken: "exposed-token", "token of a provider in a response", DataExposure, High, ["leak-secret", "CWE-522", "OWASP-A02"];
    ExposedHash: "exposed-password-hash", "hash of a password in a response", DataExposure, High, ["leak-secret", "CWE-522", "OWASP-A02"];
    ExposedSqlError: "exposed-sql-error", "error of a database in a response", DataExposure, Medium, ["leak-error", "CWE-209", "OWASP-A05"];
    ExposedTrace: "exposed-stack-trace", "trace of an error in a response", DataExposure, Low, ["leak-error", "CWE-209", "OWASP-A05"];
    ExposedSource: "exposed-source-code", "source code in a response that the server should have run", DataExposure, Medium, ["leak-source", "CWE-540", "OWASP-A05"];
    ExposedListing: "exposed-listing", "listing of a folder", DataExposure, Low, ["leak-source", "CWE-548", "OWASP-A05"];
    ExposedOutput: "exposed-command-output", "output of a command in a response", DataExposure, High, ["leak-source", "CWE-78", "OWASP-A03"];
    ExposedShell: "exposed-web-shell", "page of a web shell", DataExposure, Critical, ["webshell", "CWE-553", "OWASP-A08"];
    LoginBruteForce: "login-brute-force", "many passwords tried for one user", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    LoginStuffing: "login-credential-stuffing", "credentials of many users tried", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    LoginSpraying: "login-password-spraying", "few passwords tried for many users", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    LoginDistributed: "login-distributed-brute-force", "many clients try passwords of one user", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    LoginBotnet: "login-botnet", "many clients fail to log in, far more than usual", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    LoginEnumeration: "login-user-enumeration", "users looked for by what the application answers", AuthBypass, Medium, ["attack-auth", "CWE-204", "OWASP-A07"];
    LoginSuccess: "login-success-after-failures", "login that worked after many that failed", AuthBypass, Critical, ["attack-auth", "CWE-307", "OWASP-A07"];
    TokenGuessing: "token-guessing", "many tokens refused", AuthBypass, High, ["attack-auth", "CWE-307", "OWASP-A07"];
    ForcedBrowsing: "forced-browsing", "many paths tried that are not there", AccessControl, Medium, ["attack-access", "CWE-425", "OWASP-A01"];
    ProbeNames: "probe-names", "paths tried that scanners look for", AccessControl, Medium, ["attack-access", "CWE-425", "OWASP-A01"];
    ObjectWalk: "object-walk", "one object after the other asked for", AccessControl, High, ["attack-access", "CWE-639", "OWASP-A01"];
    AnonymousAccess: "anonymous-access", "served without credentials where only those with credentials were", AccessControl, High, ["attack-access", "CWE-862", "OWASP-A01"];
    VerbTampering: "verb-tampering", "refused request served with another method", AccessControl, High, ["attack-access", "CWE-650", "OWASP-A01"];
    SessionKept: "session-fixation", "session id of the client's own kept through a login", Session, High, ["attack-session", "CWE-384", "OWASP-A07"];
    SessionShared: "session-shared", "one session used from different networks and programs", Session, High, ["attack-session", "CWE-613", "OWASP-A07"];
    SessionSequence: "session-id-sequence", "session ids that follow each other", Session, Medium, ["weak-session", "CWE-340", "OWASP-A07"];
    SessionShort: "session-id-short", "session ids that can be guessed", Session, Low, ["weak-session", "CWE-334", "OWASP-A07"];
    SessionAttributes: "session-cookie-attributes", "session cookie without protecting attributes", Session, Low, ["weak-session", "CWE-614", "OWASP-A05"];
    SessionInTarget: "session-id-in-url", "session id in a target", Session, Low, ["weak-session", "CWE-598", "OWASP-A07"];
    CsrfMissingToken: "csrf-missing-token", "state change without the token that the route normally gets", Csrf, High, ["attack-csrf", "CWE-352", "OWASP-A01"];
    ManyAttacks: "many-attacks", "many kinds of attacks by one client", InputValidation, High, ["attack-scan", "OWASP-A03"];
    Model: "model-suspicious", "value that resembles attacks more than ordinary text", InputValidation, Low, ["CWE-20", "OWASP-A03"];
    JwtSignature: "jwt-signature", "JWT that none of the configured keys signed", Jwt, Critical, ["attack-jwt", "CWE-347", "OWASP-A02"];
    JwtImpossible: "jwt-impossible-signature", "JWT with a signature that no key makes", Jwt, High, ["attack-jwt", "CWE-347", "OWASP-A02"];
    JwtSecret: "jwt-weak-secret", "JWT signed with a secret that anybody guesses", Jwt, High, ["attack-jwt", "CWE-521", "OWASP-A02"];
    OverBudget: "inspection-budget", "request that takes more work to look through than is spent on one", InputValidation, Medium, ["attack-protocol", "CWE-400", "OWASP-A05"];
    JwtConfusion: "jwt-algorithm-confusion", "issuer with a private key signs with a shared secret", Jwt, Critical, ["attack-jwt", "CWE-347", "OWASP-A02"];
}

impl Code {
    fn builtin(self) -> Option<&'static Builtin> {
        BUILTINS.get(self as usize)
    }

    /// Attack class.
    pub(crate) fn class(self) -> Class {
        self.builtin().map_or(Class::InputValidation, |builtin| builtin.class)
    }

    /// How bad.
    pub(crate) fn severity(self) -> Severity {
        self.builtin().map_or(Severity::Info, |builtin| builtin.severity)
    }
}

/// The infos of all coded detections, shared by their findings.
#[derive(Debug)]
pub(crate) struct Infos(Vec<Arc<RuleInfo>>);

impl Infos {
    pub(crate) fn new() -> Self {
        Self(BUILTINS.iter().map(|builtin| Arc::new(info(builtin))).collect())
    }

    /// The info of `code`.
    pub(crate) fn get(&self, code: Code) -> Option<&Arc<RuleInfo>> {
        self.0.get(code as usize)
    }
}

/// The info of a coded detection.
pub(crate) fn info(builtin: &Builtin) -> RuleInfo {
    RuleInfo {
        id: builtin.id.to_owned(),
        number: number_of(builtin.id),
        revision: 1,
        title: builtin.title.to_owned(),
        tags: builtin.tags.iter().map(ToString::to_string).collect(),
        response: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_numbers_are_unique() {
        let mut numbers: Vec<u32> = BUILTINS.iter().map(|builtin| number_of(builtin.id)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), BUILTINS.len());
    }

    #[test]
    fn codes_name_their_row() {
        assert_eq!(Code::Csrf.builtin().map(|builtin| builtin.id), Some("csrf-foreign-origin"));
        assert_eq!(Code::Csrf.class(), Class::Csrf);
        assert_eq!(Code::Model.builtin().map(|builtin| builtin.id), Some(crate::detect::MODEL_ID));
    }
}
