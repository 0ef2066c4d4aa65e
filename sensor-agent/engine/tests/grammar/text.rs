//! Grammars as text: families of values, a value a line, with parts that are chosen by chance. They are files, so that a
//! family is as easy to read and to extend as a list, and the same seed gives the same values.
//!
//! `! KIND NAME [case] [body]` begins a family, `@ NAME` a list of parts, `#` a comment. `‹NAME›` stands for a part, or for one of the
//! built-in ones: `num`, `word`, `hex`, `b64`, `sp`, `tab`, `lf`, `cr`, `ff`, `e` (nothing). In families with `case`, letters change
//! their case in some of the values; those with `body` stand in bodies only.

use std::collections::BTreeMap;

/// Numbers by chance, always the same ones for a seed (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A piece of a line.
enum Piece {
    Text(String),
    Part(String),
}

/// Values that are alike.
pub(crate) struct Family {
    /// `sqli`, `xss`, …, `benign`.
    pub(crate) kind: String,
    /// What distinguishes it from others of its kind.
    pub(crate) name: String,
    /// Whether letters may change their case.
    case: bool,
    /// Whether the values stand in bodies only: nobody puts an article into an address.
    pub(crate) body: bool,
    lines: Vec<Vec<Piece>>,
}

/// Families and the parts of their values.
pub(crate) struct Grammar {
    pub(crate) families: Vec<Family>,
    parts: BTreeMap<String, Vec<Vec<Piece>>>,
}

const WORDS: &[&str] = &[
    "river", "garden", "kettle", "orange", "window", "planet", "copper", "silver", "morning", "harbour",
    "ticket", "invoice", "profile", "laptop", "blanket", "mountain", "report", "summer", "teapot", "violin",
    "station", "market", "bicycle", "lantern", "pepper", "customer", "account", "member", "product",
    "sandbox", "abc", "foo", "test", "data",
];

impl Grammar {
    /// Reads a grammar. What it cannot read is a mistake in a test's own file, and stops the test.
    pub(crate) fn parse(text: &str) -> Self {
        let mut grammar = Self { families: Vec::new(), parts: BTreeMap::new() };
        let mut part: Option<String> = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            if let Some(head) = line.strip_prefix("! ") {
                let words: Vec<&str> = head.split(' ').collect();
                let [kind, name, flags @ ..] = &words[..] else { panic!("`{line}` has no kind and name") };
                let (kind, name) = (kind.to_string(), name.to_string());
                let (case, body) = (flags.contains(&"case"), flags.contains(&"body"));
                grammar.families.push(Family { kind, name, case, body, lines: Vec::new() });
                part = None;
            } else if let Some(name) = line.strip_prefix("@ ").filter(|name| !name.contains(' ')) {
                part = Some(name.to_owned());
            } else if let Some(name) = &part {
                grammar.parts.entry(name.clone()).or_default().push(pieces(line));
            } else {
                grammar.families.last_mut().expect("a family before its lines").lines.push(pieces(line));
            }
        }
        grammar
    }

    /// A value of a family: of its line `number`, counted round and round.
    pub(crate) fn value(&self, family: &Family, number: usize, chance: &mut Chance) -> String {
        let mut value = String::new();
        self.write(&family.lines[number % family.lines.len()], chance, &mut value);
        if family.case && chance.below(4) == 0 { shuffle_case(&value, chance) } else { value }
    }

    fn write(&self, pieces: &[Piece], chance: &mut Chance, value: &mut String) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Part(name) => match self.parts.get(name) {
                    Some(lines) => self.write(&lines[chance.below(lines.len())], chance, value),
                    None => value.push_str(&built_in(name, chance)),
                },
            }
        }
    }
}

impl Family {
    /// Lines of the family.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

fn pieces(line: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, from)) = rest.split_once('‹') {
        let (name, behind) =
            from.split_once('›').unwrap_or_else(|| panic!("`{line}` opens a part and does not close it"));
        found.push(Piece::Text(before.to_owned()));
        found.push(Piece::Part(name.to_owned()));
        rest = behind;
    }
    found.push(Piece::Text(rest.to_owned()));
    found
}

fn built_in(name: &str, chance: &mut Chance) -> String {
    let text = match name {
        "num" => return (1 + chance.below(250)).to_string(),
        "hex" => return format!("{:02x}", chance.below(256)),
        "b64" => return base64ish(chance),
        "word" => chance.pick(WORDS),
        "sp" => " ",
        "tab" => "\t",
        "lf" => "\n",
        "cr" => "\r",
        "ff" => "\x0c",
        "e" => "",
        _ => panic!("`{name}` is no part"),
    };
    text.to_owned()
}

fn base64ish(chance: &mut Chance) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let length = 20 + chance.below(60);
    (0..length).map(|_| char::from(*chance.pick(LETTERS))).collect()
}

fn shuffle_case(text: &str, chance: &mut Chance) -> String {
    let mut flip = |letter: char| {
        if chance.below(2) == 0 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    text.chars().map(&mut flip).collect()
}
