//! `when`: a condition in CEL (the Common Expression Language) over the request, the response, the client and the process that serves, for
//! what fields and patterns cannot say together. It is asked last, once everything else about a rule holds, so that it costs where something was
//! found and nowhere else.
//!
//! What it may cost is bounded before it runs: the expression's length, the functions it may call (no patterns, no loops), and the
//! length and number of the values it sees. A mistake at run time (a header that is not there) means that it does not hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr};
use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Context, Env, IdedExpr, Program, Value};
use ipnet::IpNet;

use crate::field::Place;
use crate::served::ServingProcess;

use super::matcher::Scope;

/// Longest expression, in bytes.
pub const MAX_WHEN_BYTES: usize = 1024;
/// Most brackets, signs and questions that are open at once: the parser calls itself for each.
pub const MAX_WHEN_DEPTH: usize = 16;
/// Most marks of punctuation outside of texts, operators among them: the interpreter calls itself for each link of a chain of operators.
pub const MAX_WHEN_MARKS: usize = 48;
/// Longest value that an expression sees; of longer ones it sees the beginning.
pub const MAX_WHEN_VALUE: usize = 4096;
/// Most headers that an expression sees.
pub const MAX_WHEN_HEADERS: usize = 64;

/// Variables, and what each holds.
const VARIABLES: &[(&str, &[&str])] = &[
    ("request", &["method", "target", "path", "query", "host", "headers"]),
    ("response", &["status", "headers", "delay_ms"]),
    ("client", &["address"]),
    ("process", &["name", "unit", "container", "user"]),
];

/// Functions that are called by name; operators are all allowed.
const FUNCTIONS: &[&str] = &["size", "contains", "startsWith", "endsWith", "int", "string", "in_network"];

/// A compiled condition.
pub(super) struct When {
    program: Program,
    env: Arc<Env>,
    text: String,
    wants: Wants,
}

/// What of its surroundings it asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    request: bool,
    response: bool,
    client: bool,
    process: bool,
}

/// What is wrong with an expression, and the byte at which it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WhenError {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// The functions that expressions can call, made once for all rules of a set.
pub(super) fn environment() -> Arc<Env> {
    let mut env = Env::stdlib();
    // Fails only if the name is taken, which the standard library does not.
    let _ =
        env.add_overload("in_network", "in_network_string_string", vec![STRING_TYPE, STRING_TYPE], |args| {
            let text = |at: usize| {
                args.get(at).and_then(|value| value.downcast_ref::<CelString<'_>>()).map(|text| text.inner())
            };
            Ok(CowVal::owned(CelBool::from(
                text(0).zip(text(1)).is_some_and(|(address, network)| lies_in(address, network)),
            )))
        });
    Arc::new(env)
}

fn lies_in(address: &str, network: &str) -> bool {
    let address: Option<IpAddr> = address.parse().ok();
    let alone = || network.parse().ok().map(|address: IpAddr| IpNet::from(address));
    let network = network.parse().ok().or_else(alone);
    address
        .zip(network)
        .is_some_and(|(address, network): (IpAddr, IpNet)| network.contains(&address.to_canonical()))
}

impl When {
    /// Compiles an expression.
    pub(super) fn compile(text: &str, env: &Arc<Env>) -> Result<Self, WhenError> {
        if text.len() > MAX_WHEN_BYTES {
            let reason = format!("has {} bytes, expected at most {MAX_WHEN_BYTES}", text.len());
            return Err(WhenError { at: 0, reason });
        }
        let marks = marks(text);
        if marks > MAX_WHEN_MARKS {
            let reason = format!("has {marks} marks of punctuation, expected at most {MAX_WHEN_MARKS}");
            return Err(WhenError { at: 0, reason });
        }
        if let Some(at) = too_deep(text) {
            let reason = format!("is nested more than {MAX_WHEN_DEPTH} deep");
            return Err(WhenError { at, reason });
        }
        let program = env.compile(text).map_err(|errors| {
            let first = errors.errors.first();
            let reason = first.map_or_else(
                || "does not parse".to_owned(),
                |error| format!("does not parse: {}", error.msg),
            );
            WhenError {
                at: first.map_or(0, |error| offset(text, error.pos)),
                reason: reason.replace('\n', " "),
            }
        })?;
        let mut wants = Wants::default();
        check(program.expression(), &mut wants)
            .map_err(|(name, reason)| WhenError { at: text.find(&name).unwrap_or(0), reason })?;
        Ok(Self { program, env: Arc::clone(env), text: text.to_owned(), wants })
    }

    /// Whether it asks for the client.
    pub(super) fn wants_client(&self) -> bool {
        self.wants.client
    }

    /// Whether it asks for the process that serves.
    pub(super) fn wants_process(&self) -> bool {
        self.wants.process
    }

    /// Whether it holds; a mistake is counted in `errors` and means that it does not.
    pub(super) fn holds(&self, scope: Scope<'_>, errors: &mut u64) -> bool {
        let mut context = Context::with_env(Arc::clone(&self.env));
        if self.wants.request {
            context.add_variable_from_value("request", request(scope));
        }
        if self.wants.response {
            context.add_variable_from_value("response", response(scope));
        }
        if self.wants.client {
            let address = scope.client.map(|address| address.to_string()).unwrap_or_default();
            context.add_variable_from_value("client", HashMap::from([("address", Value::from(address))]));
        }
        if self.wants.process {
            context.add_variable_from_value("process", process(scope.process));
        }
        // The interpreter is not ours: should it panic on some value, the engine goes on as after any other mistake.
        match catch_unwind(AssertUnwindSafe(|| self.program.execute(&context))) {
            Ok(Ok(Value::Bool(holds))) => holds,
            _ => {
                *errors += 1;
                false
            }
        }
    }
}

impl std::fmt::Debug for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "When({:?})", self.text)
    }
}

/// Marks of punctuation outside of texts.
fn marks(text: &str) -> usize {
    let mut quote = None;
    let counts = |byte: &u8| match (quote, byte) {
        (None, b'\'' | b'"') => {
            quote = Some(*byte);
            false
        }
        (Some(open), byte) => {
            if open == *byte {
                quote = None;
            }
            false
        }
        (None, byte) => byte.is_ascii_punctuation(),
    };
    text.bytes().filter(counts).count()
}

/// Where more is open than the parser should follow; brackets in texts count too, which is no loss.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut signs, mut questions) = (0_usize, 0_usize, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' => questions += 1,
            _ => {}
        }
        signs = match byte {
            b'!' | b'-' => signs + 1,
            byte if byte.is_ascii_whitespace() => signs,
            _ => 0,
        };
        if open.max(signs).max(questions) > MAX_WHEN_DEPTH {
            return Some(at);
        }
    }
    None
}

/// The byte at a line and column, both from 1.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let number = |number: isize| usize::try_from(number - 1).unwrap_or(0);
    let before: usize = text.split_inclusive('\n').take(number(line)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(number(column)).map_or(rest.len(), |(at, _)| at);
    before + within
}

/// Refuses unknown names and functions, and loops; what is refused comes with its name.
fn check(expression: &IdedExpr, wants: &mut Wants) -> Result<(), (String, String)> {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => variable(name, wants),
        Expr::Select(select) => {
            if let Expr::Ident(name) = &select.operand.expr {
                member(name, &select.field)?;
            }
            check(&select.operand, wants)
        }
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
            if !is_operator && !FUNCTIONS.contains(&name) {
                let reason = format!("unknown function `{name}`, expected one of {}", FUNCTIONS.join(", "));
                return Err((name.to_owned(), reason));
            }
            call.target.iter().map(|target| &**target).chain(&call.args).try_for_each(|one| check(one, wants))
        }
        Expr::List(list) => list.elements.iter().try_for_each(|one| check(one, wants)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => check(&entry.key, wants).and_then(|()| check(&entry.value, wants)),
            EntryExpr::StructField(field) => check(&field.value, wants),
        }),
        Expr::Comprehension(_) => Err((
            ".".to_owned(),
            "`all`, `exists`, `map` and `filter` are loops, which are not taken".to_owned(),
        )),
        Expr::Struct(_) => Err(("{".to_owned(), "structures are not taken".to_owned())),
    }
}

fn variable(name: &str, wants: &mut Wants) -> Result<(), (String, String)> {
    match name {
        "request" => wants.request = true,
        "response" => wants.response = true,
        "client" => wants.client = true,
        "process" => wants.process = true,
        other => {
            let known: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
            return Err((
                other.to_owned(),
                format!("unknown variable `{other}`, expected one of {}", known.join(", ")),
            ));
        }
    }
    Ok(())
}

fn member(name: &str, field: &str) -> Result<(), (String, String)> {
    let Some((_, known)) = VARIABLES.iter().find(|(variable, _)| *variable == name) else { return Ok(()) };
    match known.contains(&field) {
        true => Ok(()),
        false => Err((
            field.to_owned(),
            format!("`{name}` has no `{field}`, expected one of {}", known.join(", ")),
        )),
    }
}

fn text(bytes: &[u8]) -> Value {
    let bytes = bytes.get(..MAX_WHEN_VALUE).unwrap_or(bytes);
    Value::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Of headers that are there more than once, the first counts.
fn headers<'a>(all: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Value {
    let mut headers: HashMap<String, Value> = HashMap::new();
    for (name, value) in all.take(MAX_WHEN_HEADERS) {
        let name = name.get(..MAX_WHEN_VALUE).unwrap_or(name);
        headers.entry(String::from_utf8_lossy(name).to_ascii_lowercase()).or_insert_with(|| text(value));
    }
    Value::from(headers)
}

fn request(scope: Scope<'_>) -> Value {
    let request = scope.request;
    Value::from(HashMap::from([
        ("method", text(request.method())),
        ("target", text(request.target())),
        ("path", text(request.path())),
        ("query", text(request.query())),
        ("host", text(request.header("host").unwrap_or_default())),
        ("headers", headers(request.headers())),
    ]))
}

/// What is not known of the process is not there, for `has`.
fn process(process: Option<&ServingProcess>) -> Value {
    let Some(process) = process else { return Value::from(HashMap::<String, Value>::new()) };
    let known = [
        ("name", &process.name),
        ("unit", &process.unit),
        ("container", &process.container),
        ("user", &process.user),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, text(value.as_ref()?.as_bytes()))));
    Value::from(known.collect::<HashMap<&str, Value>>())
}

/// Before there is a response, its status is 0.
fn response(scope: Scope<'_>) -> Value {
    let status = scope.fields.iter().find(|field| field.place == Place::ResponseStatus);
    let status = status.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<i64>().ok());
    let all = scope.fields.iter().filter(|field| field.place == Place::ResponseHeader);
    Value::from(HashMap::from([
        ("status", Value::Int(status.unwrap_or(0))),
        ("headers", headers(all.map(|field| (field.name, field.value)))),
        ("delay_ms", Value::Int(i64::try_from(scope.delay.as_millis()).unwrap_or(i64::MAX))),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::field::Fields;
    use crate::http::head::parse_request;
    use crate::http::message::Request;

    const HEAD: &[u8] = b"POST /shop/cart?item=7 HTTP/1.1\r\nHost: shop.example.com\r\nX-Kind: Alpha\r\n\r\n";

    fn check(text: &str) -> String {
        let when = match When::compile(text, &environment()) {
            Ok(when) => when,
            Err(WhenError { at, reason }) => return format!("{at}: {reason}"),
        };
        let mut request = Request::default();
        parse_request(HEAD, &mut request);
        let mut fields = Fields::default();
        fields.push(Place::ResponseStatus, b"", b"404", 0);
        let client = Some(IpAddr::from([203, 0, 113, 9]));
        let text = |text: &str| Some(text.to_owned());
        let process = ServingProcess {
            name: text("php-fpm8.2"),
            unit: text("shop.service"),
            user: text("www-data"),
            container: None,
        };
        let mut errors = 0;
        let process = Some(&process);
        let delay = Duration::from_millis(5200);
        let scope = Scope { request: &request, fields: &fields, client, process, delay };
        let holds = when.holds(scope, &mut errors);
        format!("{holds} {errors}")
    }

    #[test]
    fn expressions_see_request_response_client_and_process() {
        let rows = [
            ("request.method == 'POST' && request.path.startsWith('/shop')", "true 0"),
            ("request.query == 'item=7' && request.target.endsWith('7')", "true 0"),
            ("request.headers['x-kind'] == 'Alpha' && 'x-other' in request.headers", "false 0"),
            ("!('cookie' in request.headers) && size(request.headers) == 2", "true 0"),
            ("request.host.contains('example') ? response.status >= 400 : false", "true 0"),
            (
                "in_network(client.address, '203.0.113.0/24') && !in_network(client.address, '10.0.0.0/8')",
                "true 0",
            ),
            ("client.address in ['203.0.113.9', '::1']", "true 0"),
            ("has(request.headers.cookie)", "false 0"),
            ("process.unit == 'shop.service' && process.name.startsWith('php-fpm')", "true 0"),
            ("has(process.container) || process.user == 'root'", "false 0"),
            ("response.delay_ms >= 5000 && response.delay_ms < 6000", "true 0"),
            ("process.container == ''", "false 1"),
            ("request.headers['x-none'] == ''", "false 1"),
            ("int(request.method) == 1", "false 1"),
            ("size(request.path)", "false 1"),
        ];
        for (text, expected) in rows {
            assert_eq!(check(text), expected, "{text}");
        }
    }

    /// The longest chains that fit in: the interpreter calls itself for each link.
    #[test]
    fn long_chains_do_not_exhaust_the_stack() {
        let chain = |start: &str, link: &str, end: &str| {
            let links = (MAX_WHEN_MARKS - marks(start) - marks(end)) / marks(link);
            check(&format!("{start}{}{end}", link.repeat(links)))
        };
        assert_eq!(chain("0", "-0", " == 0"), "true 0");
        assert_eq!(chain("true", "&&true", ""), "true 0");
        assert_eq!(chain("client", ".a", ""), "7: `client` has no `a`, expected one of address");
        assert_eq!(chain("request.path", "[0]", " == ''"), "false 1");
        assert_eq!(chain("true", "?true:true", ""), "164: is nested more than 16 deep");
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        let long = format!("request.path == '{}'", "a".repeat(MAX_WHEN_BYTES));
        let (deep, signs) = ("(".repeat(40), format!("{}true", "! ".repeat(40)));
        let many = "!true||".repeat(100) + "'--------'";
        let rows = [
            (many.as_str(), "has 300 marks of punctuation, expected at most 48"),
            ("request.method = 'x'", "15: does not parse"),
            ("request.method ==", "17: does not parse"),
            (
                "true &&\n requst.path == ''",
                "9: unknown variable `requst`, expected one of request, response, client, process",
            ),
            ("request.body == ''", "8: `request` has no `body`, expected one of method, target"),
            ("request.path.matches('a+')", "13: unknown function `matches`, expected one of size"),
            ("request.headers.exists(h, h == 'a')", "`exists`, `map` and `filter` are loops"),
            (&long, "0: has 1042 bytes, expected at most 1024"),
            (&deep, "16: is nested more than 16 deep"),
            (&signs, "is nested more than 16 deep"),
        ];
        for (text, expected) in rows {
            let got = check(text);
            assert!(got.contains(expected), "{text}\n{got}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_compiles_or_is_refused(text in r"(request|client|process|has|\.unit|\.path|\.headers|response\.status|==|&&|\|\||!|\(|\)|\[|\]|'a'|1|-|\+|\?|:|in|,| |\{|\}|size){0,60}") {
            check(&text);
        }
    }
}
