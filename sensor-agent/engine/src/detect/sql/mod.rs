//! SQL injection by structure: a value is tokenised as it would be behind a query's beginning, and the tokens are
//! compared with what injections consist of. What speaks against prose is grammar: behind a closed string SQL goes on
//! with an operator, a keyword, a bracket or a comment, and two operands never stand side by side.

mod call;
mod condition;
mod fragment;
mod pattern;
mod statement;
mod token;
mod words;

use token::{Context, Token, tokenise};

use super::builtin::Code;

/// Shorter values hold no injection.
const MIN_BYTES: usize = 2;

/// Least confidence behind a backtick that closes nothing: texts about code have many.
const IN_BACKTICKS: f32 = 0.9;

/// SQL found in a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
    /// Whether the value had left its place in the query before it.
    pub(crate) breaks: bool,
}

/// Scratch memory of the detector.
#[derive(Debug, Default)]
pub(crate) struct Sql {
    tokens: Vec<Token>,
    /// What all calls together took: bytes read and tokens looked at.
    pub(crate) steps: u64,
}

impl Sql {
    /// The strongest sign of injection in `value`, in any context.
    pub(crate) fn find(&mut self, value: &[u8]) -> Option<Found> {
        if value.len() < MIN_BYTES {
            return None;
        }
        let mut best: Option<Found> = None;
        let alone = memchr::memchr_iter(b'`', value).nth(1).is_none();
        let least = if alone || closes_a_name(value) { 0.0 } else { IN_BACKTICKS };
        let quoted = [b'\'', b'"', b'`'].map(Context::Quoted);
        for context in [Context::Plain].into_iter().chain(quoted) {
            if let Context::Quoted(quote) = context
                && memchr::memchr(quote, value).is_none()
            {
                continue;
            }
            tokenise(value, context, &mut self.tokens);
            self.steps += (value.len() + self.tokens.len() * pattern::LOOK_AHEAD) as u64;
            let found = pattern::find(value, &self.tokens, context)
                .filter(|found| context != Context::Quoted(b'`') || found.confidence >= least);
            if found.is_some_and(|found| best.is_none_or(|best| found.confidence > best.confidence)) {
                best = found;
            }
        }
        best
    }
}

/// Whether the first backtick stands right behind a name, where texts have a blank.
fn closes_a_name(value: &[u8]) -> bool {
    let before = memchr::memchr(b'`', value).and_then(|at| value.get(at.checked_sub(1)?));
    before.is_some_and(|before| before.is_ascii_alphanumeric() || matches!(before, b')' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confidence(value: &str) -> f32 {
        Sql::default().find(value.as_bytes()).map_or(0.0, |found| found.confidence)
    }

    fn code(value: &str) -> Option<Code> {
        Sql::default().find(value.as_bytes()).map(|found| found.code)
    }

    #[test]
    fn injections() {
        let rows: &[(&str, Code, f32)] = &[
            ("1' UNION SELECT * FROM admin_users--", Code::SqlUnion, 0.9),
            ("1 union all select null,null,version()", Code::SqlUnion, 0.9),
            ("-1'/**/uNiOn/*!50000sElEcT*/1,2#", Code::SqlUnion, 0.9),
            ("1e0union(select(1))", Code::SqlUnion, 0.9),
            ("1 union--\nselect 1", Code::SqlUnion, 0.9),
            ("1' union table users-- ", Code::SqlUnion, 0.8),
            ("'; DROP TABLE users; --", Code::SqlStacked, 0.8),
            ("1; EXEC sp_who", Code::SqlProcedure, 0.8),
            ("1; insert into users values(1)", Code::SqlStacked, 0.8),
            ("1; WAITFOR DELAY '0:0:5'", Code::SqlTime, 0.9),
            ("1;wAiTfOr/**/dElAy'0:0:5'", Code::SqlTime, 0.9),
            ("1' AND SLEEP(5)#", Code::SqlTime, 0.9),
            ("1 and benchmark(1e8,md5(1))", Code::SqlTime, 0.9),
            ("';select pg_sleep(5)--", Code::SqlStacked, 0.9),
            ("';select'a',name from sysobjects--", Code::SqlStacked, 0.9),
            ("' OR '1'='1", Code::SqlBoolean, 0.8),
            ("1 or 1=1", Code::SqlBoolean, 0.8),
            ("'or(1)=(1)", Code::SqlBoolean, 0.8),
            ("' or true--", Code::SqlBoolean, 0.8),
            ("1' and ascii(substr(user(),1,1))>64--", Code::SqlBoolean, 0.8),
            ("1 && 2>1", Code::SqlBoolean, 0.8),
            ("x' or 'a' like 'a", Code::SqlBoolean, 0.8),
            ("' or user like '%", Code::SqlBoolean, 0.8),
            ("1' and role=role", Code::SqlBoolean, 0.8),
            ("admin'--", Code::SqlComment, 0.7),
            ("admin') #", Code::SqlComment, 0.7),
            ("'||1#", Code::SqlBoolean, 0.7),
            ("'-0-'", Code::SqlExpression, 0.7),
            ("'=''", Code::SqlExpression, 0.7),
            ("1' order by 10-- -", Code::SqlProbe, 0.7),
            ("books) ORDER BY 1-- uLzh", Code::SqlProbe, 0.8),
            ("books/**/order/**/by/**/3,4#", Code::SqlProbe, 0.8),
            ("bob#\norder#\nby#\n1-- x", Code::SqlProbe, 0.8),
            ("abc AND ELT(5542=1253,1253)", Code::SqlBoolean, 0.85),
            ("abc,IIF(8500=7560,1,1/0)", Code::SqlBoolean, 0.8),
            ("a;WAITFOR+DELAY+'0:0:5'--", Code::SqlTime, 0.9),
            ("a WAITFOR DELAY \u{3bf}'0:0:5'-- -", Code::SqlTime, 0.9),
            ("abc`=`abc` WAITFOR DELAY '0:0:5' AND `a`=`a", Code::SqlTime, 0.9),
            ("abc`=`abc`;SELECT BENCHMARK(5000000,MD5(1))", Code::SqlTime, 0.9),
            ("1 and (select count(*) from users)>0", Code::SqlSubquery, 0.7),
            ("' or '{\"b\":2}'::jsonb <@ '{\"a\":1}'::jsonb--", Code::SqlBoolean, 0.8),
            ("1 and extractvalue(1,concat(0x7e,version()))", Code::SqlFunction, 0.8),
            ("exec master..xp_cmdshell 'dir'", Code::SqlProcedure, 0.9),
        ];
        for (value, expected, at_least) in rows {
            assert_eq!(code(value), Some(*expected), "{value}: {}", confidence(value));
            assert!(confidence(value) >= *at_least, "{value}: {}", confidence(value));
        }
    }

    #[test]
    fn fragments() {
        for value in [
            "&& 1==(",
            "AND 4372=(",
            "/3 and(",
            "|| langCode ==",
            "xor 5-",
            "1=1",
            "11!=1",
            "42 like 42",
            "b,1=1",
            "; insert into",
            ";update users",
            "select (case",
            "having 1=",
            "left')?$(",
            "user (",
            "'16/17",
            "\";",
            "z'or email notnull--",
            "a'or?--",
            "' or abc!",
            "test' or 1=",
            "' union/",
            "'ALTER A",
        ] {
            assert!(confidence(value) >= 0.7, "{value}: {}", confidence(value));
        }
    }

    #[test]
    fn short_values_that_are_no_fragments() {
        for value in [
            "Xy'--9z!",
            "difference between ' and \"",
            "or is it?",
            "OR-gate=1",
            "\"UNION\" BY ROBERT",
            "and more",
            "OR 97201",
            "|| dir",
            "5'11\"",
            "'90s",
            "\"10\"",
            "'n'",
            "a->b",
            "x = 1",
            "2 < 3",
            "; see below",
            "select one",
            "update (new)",
            "workers' union",
            "having fun",
            "user (admin)",
            "left (side)",
            "rock & roll",
            "O'Neil and Sons",
            "the boys' or the girls'",
            "'quoted'",
            "it's",
            ":)",
            "***",
            "print(os.path.join(sys.argv[1], '..'))",
            "body { background: url(\"/img/bg.png\"); color: #fff; }",
            "true and false or not null",
            "What does OR 1=1 mean in a query?",
            "is 1=1 or 2=2 in logic a tautology",
            "drop table if exists foo; create table foo (id int primary key);",
            ">=",
        ] {
            assert!(confidence(value) < 0.7, "{value}: {:?}", Sql::default().find(value.as_bytes()));
        }
    }

    #[test]
    fn prose_names_and_code_are_no_injection() {
        let values = [
            "select a plan -- union of workers",
            "O'Reilly",
            "drop table in the cafe; see you",
            "it's 5 o'clock and I'm late -- see you",
            "rock 'n' roll or 'pop'",
            "\"select\"",
            "press \"Select\" to go, or 'select' it",
            "the boys' or girls' toys",
            "1--1",
            "1 + 1 = 2",
            "C++ and C#",
            "the student union selects its board",
            "Please order by 5 -- and thank you",
            "foo and bar(x=1)",
            "use `a` or `b`, not `c`=1",
            "Built-in support for `*-linux-none` targets",
            "Switch to `select()` on macOS for polling",
            "Please order by 5 pm; delete from your list what's done",
            "6'-4\" tall",
            "a and b, 2 or 3",
            "#fff",
            "if (a && b == 1) { return \"x\" + 'y'; }",
            "insert into the slot, update the set, exec summary",
            "Mozilla/5.0 (X11; Linux x86_64; rv:1.0) like Gecko",
            "text/html,application/xml;q=0.9,*/*;q=0.8",
            "<a href=\"x\" class='y'>it's</a>",
            "waiting for delay 5",
            "sleep (8 hours) and eat",
        ];
        for value in values {
            assert!(confidence(value) < 0.5, "{value}: {:?}", Sql::default().find(value.as_bytes()));
        }
    }

    #[test]
    fn long_hostile_values_take_linear_time() {
        let mut sql = Sql::default();
        for part in
            ["(", "'", "or 1=", "union (", "select ", "a=", ";drop ", "case when ", "/*", "x(", "1 or x("]
        {
            let value = part.repeat(100_000 / part.len());
            let _ = sql.find(value.as_bytes());
        }
    }
}
