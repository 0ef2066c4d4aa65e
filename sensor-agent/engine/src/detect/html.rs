//! Script in HTML: active elements, event handlers and URLs that run script, found by one lenient scan for what begins
//! them. Browsers accept far more than the standard says, so that white space, slashes and control characters between
//! the parts are all accepted here too.

use super::builtin::Code;

/// Script found in a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
}

/// What the scan has seen of a value so far.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// Where the first quote stands, or the value's end.
    first_quote: usize,
    /// Whether an element may have begun.
    in_tag: bool,
}

/// Bytes behind a sign in which its arguments are looked for.
const NEAR: usize = 200;

/// The strongest sign of script in `value`; what that took is added to `steps`.
pub(crate) fn find(value: &[u8], steps: &mut u64) -> Option<Found> {
    let signs = memchr::memchr3_iter(b'<', b'=', b':', value);
    let mut best: Option<Found> = None;
    let first_quote = memchr::memchr3(b'"', b'\'', b'`', value).unwrap_or(value.len());
    let mut context = Context { first_quote, in_tag: false };
    *steps += value.len() as u64;
    for at in signs {
        *steps += NEAR as u64;
        let found = match value.get(at) {
            Some(b'<') => {
                context.in_tag |= value
                    .get(at + 1)
                    .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte <= b' ' || *byte == b'/');
                element(value, at)
            }
            Some(b'=') => handler(value, at, context),
            _ => script_url(value, at),
        };
        if let Some(found) = found
            && best.is_none_or(|best| found.confidence > best.confidence)
        {
            best = Some(found);
        }
    }
    best
}

/// Elements that run or fetch something, with the confidence of their mere presence and with telling attributes.
const ELEMENTS: &[(&str, f32, &[&str])] = &[
    ("script", 0.9, &[]),
    ("iframe", 0.6, &["src", "srcdoc", "javascript"]),
    ("frame", 0.5, &["src"]),
    ("object", 0.5, &["data", "type", "classid"]),
    ("embed", 0.5, &["src", "code"]),
    ("applet", 0.75, &[]),
    ("meta", 0.4, &["http-equiv", "url=", "charset", "content", "name="]),
    ("base", 0.4, &["href"]),
    ("link", 0.4, &["import", "javascript:", "stylesheet", "href", "rel="]),
    ("noscript", 0.55, &["#", "/"]),
    ("event-source", 0.75, &["src"]),
    ("xss", 0.75, &[]),
    ("animate", 0.6, &["attributename", "values", "onbegin", "href"]),
    ("set", 0.4, &["attributename", "onbegin"]),
    ("handler", 0.55, &["event", "type"]),
    ("portal", 0.6, &["src"]),
    ("fencedframe", 0.6, &["src"]),
    ("frameset", 0.6, &["onload", "src"]),
    ("keygen", 0.5, &["autofocus", "onfocus"]),
    ("marquee", 0.6, &["onstart", "onfinish", "behavior", "loop"]),
    // What selects by values, to fetch something of one, tells them letter by letter.
    ("style", 0.5, &["[value", "url(//", "expression", "@import", "behavior", "javascript", "-moz-binding"]),
    ("svg", 0.5, &["onload", "<script", "<animate", "<set"]),
    ("use", 0.4, &["href"]),
    ("math", 0.45, &["href", "xlink", "<mi", "<maction"]),
    ("isindex", 0.6, &["action", "type"]),
    ("bgsound", 0.6, &["src"]),
    ("layer", 0.5, &["src"]),
    ("xml", 0.3, &["src", "id="]),
    ("form", 0.3, &["action", "formaction"]),
    ("button", 0.2, &["formaction"]),
];

/// The letters that they begin with, as [`letter`] gives them.
const FIRST_LETTERS: u32 = {
    let (mut letters, mut at) = (0, 0);
    while at < ELEMENTS.len() {
        letters |= letter(ELEMENTS[at].0.as_bytes()[0]);
        at += 1;
    }
    letters
};

/// A bit for each letter, whatever its case; none for other bytes.
const fn letter(byte: u8) -> u32 {
    if byte.is_ascii_alphabetic() { 1 << (byte & 31) } else { 0 }
}

/// Confidence of an element with a telling attribute.
const TELLING: f32 = 0.8;

/// An active element whose `<` stands at `at`.
fn element(value: &[u8], at: usize) -> Option<Found> {
    let rest = value.get(at + 1..)?;
    let lead = rest.iter().take(16).take_while(|&&byte| byte <= b' ' || byte == b'/').count();
    let closing = rest.iter().take(lead).any(|&byte| byte == b'/');
    let name = rest.get(lead..)?;
    // A namespace in front of the name: `<x:script`.
    let skip = name.iter().take(16).position(|&byte| byte == b':').map(|colon| colon + 1);
    let (word, plain, telling, skipped) = [Some(0), skip].into_iter().flatten().find_map(|skip| {
        let name = name.get(skip..)?;
        let may = FIRST_LETTERS & letter(*name.first()?) != 0;
        let &(word, plain, telling) = ELEMENTS.iter().find(|(word, ..)| may && starts_with(name, word))?;
        let ends = name
            .get(word.len())
            .is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-' && *byte != b'_');
        ends.then_some((word, plain, telling, skip))
    })?;
    let len = word.len();
    let behind = name.get(skipped + len..).unwrap_or_default();
    let near = behind.get(..NEAR.min(behind.len())).unwrap_or_default();
    let told = telling.iter().any(|sign| contains(near, sign)) && !is_ordinary(word, near);
    let confidence = match (closing, told) {
        (true, _) => plain * 0.6,
        (false, true) => TELLING,
        (false, false) => plain,
    };
    Some(Found { code: Code::HtmlTag, start: at, end: at + 1 + lead + skipped + len, confidence })
}

/// Where players and maps are embedded from: no code of whoever names them runs there.
const EMBEDDED: [&str; 7] = [
    "https://www.youtube.com/embed/",
    "https://www.youtube-nocookie.com/embed/",
    "https://player.vimeo.com/video/",
    "https://www.google.com/maps/embed",
    "https://www.openstreetmap.org/export/embed",
    "https://open.spotify.com/embed/",
    "https://w.soundcloud.com/player/",
];

/// Whether what follows an element's name shows that its telling attributes are those of ordinary pages: icons use parts of their own
/// picture, editors embed players.
fn is_ordinary(element: &str, behind: &[u8]) -> bool {
    match element {
        "use" => {
            let end = memchr::memchr(b'>', behind).unwrap_or(behind.len());
            all_values(behind.get(..end).unwrap_or_default(), "href", |value| value.starts_with(b"#"))
        }
        "iframe" => all_values(behind, "src", |value| EMBEDDED.iter().any(|place| starts_with(value, place))),
        _ => false,
    }
}

/// Whether an attribute is there, each time with such a value.
fn all_values(attributes: &[u8], name: &str, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let fits = |behind: &[u8]| {
        let value = behind.trim_ascii_start().strip_prefix(b"=").unwrap_or(behind).trim_ascii_start();
        wanted(value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value))
    };
    let mut values = (0..attributes.len())
        .filter_map(|at| attributes.get(at..))
        .filter(|rest| starts_with(rest, name))
        .filter_map(|rest| rest.get(name.len()..))
        .peekable();
    values.peek().is_some() && values.all(fits)
}

/// Event handlers that are looked for where no element is open.
const HANDLERS: &[&str] = &[
    "onabort",
    "onactivate",
    "onafter",
    "onanimation",
    "onauxclick",
    "onbefore",
    "onblur",
    "onbounce",
    "oncanplay",
    "onchange",
    "onclick",
    "onclose",
    "oncontextmenu",
    "oncopy",
    "oncut",
    "ondblclick",
    "ondrag",
    "ondrop",
    "onerror",
    "onfinish",
    "onfocus",
    "onhashchange",
    "oninput",
    "oninvalid",
    "onkey",
    "onload",
    "onmessage",
    "onmouse",
    "onpage",
    "onpaste",
    "onplay",
    "onpointer",
    "onpopstate",
    "onready",
    "onreset",
    "onresize",
    "onscroll",
    "onsearch",
    "onselect",
    "onshow",
    "onstart",
    "onsubmit",
    "ontoggle",
    "ontouch",
    "ontransition",
    "onunload",
    "onwheel",
    "onbegin",
    "onend",
    "onrepeat",
];

/// An event handler whose `=` stands at `at`.
fn handler(value: &[u8], at: usize, context: Context) -> Option<Found> {
    let before = value.get(at.saturating_sub(48)..at)?;
    let blank = before.iter().rev().take_while(|&&byte| byte <= b' ' || byte == b'/').count();
    let name_end = before.len() - blank;
    let name = before.get(..name_end)?;
    let len = name.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let name = name.get(name_end - len..)?;
    let start = at - blank - len;
    if !(5..=32).contains(&len) || !starts_with(name, "on") {
        return None;
    }
    let ahead = start.checked_sub(1).and_then(|ahead| value.get(ahead)).copied();
    let quote = matches!(ahead, Some(b'"' | b'\'' | b'`'));
    let separated = quote || matches!(ahead, None | Some(0..=b' ' | b'/' | b';' | 0x80..));
    let known = HANDLERS.iter().any(|handler| starts_with(name, handler));
    let script = runs_script(value.get(at + 1..)?);
    let broken = quote || context.first_quote < start;
    let confidence = match (separated, context.in_tag, known) {
        (true, true, true) => 0.92,
        (true, true, false) if script => 0.85,
        (true, false, true) if script && broken => 0.85,
        (true, false, true) if script => 0.72,
        (true, false, _) if quote && start <= 2 && value.len() - at < NEAR => 0.74,
        (true, false, true) if broken => 0.6,
        (true, false, _)
            if start <= 4 && blank == 0 && context.first_quote == value.len() && at + 1 == value.len() =>
        {
            0.74
        }
        (false, true, true) if script => 0.8,
        _ => return None,
    };
    Some(Found { code: Code::HtmlHandler, start, end: at + 1, confidence })
}

/// Whether `value` begins with what a script could be: a call, an assignment.
fn runs_script(value: &[u8]) -> bool {
    value.iter().take(NEAR).any(|byte| matches!(byte, b'(' | b'`' | b'=' | b'.'))
}

/// A URL that runs script, whose colon stands at `at`.
fn script_url(value: &[u8], at: usize) -> Option<Found> {
    let before = value.get(at.saturating_sub(40)..at)?;
    // Browsers skip tabs, line ends and leading control characters in schemes.
    let mut letters = [0_u8; 10];
    let (mut count, mut taken) = (0, 0);
    for &byte in before.iter().rev() {
        if byte > b' ' {
            if !byte.is_ascii_alphabetic() || count == letters.len() {
                break;
            }
            count += 1;
            if let Some(slot) = letters.iter_mut().nth_back(count - 1) {
                *slot = byte.to_ascii_lowercase();
            }
        } else if byte == b' ' && count > 0 {
            break;
        }
        taken += 1;
    }
    let word = letters.get(letters.len() - count..)?;
    let behind = value.get(at + 1..)?;
    let near = behind.get(..NEAR.min(behind.len())).unwrap_or_default();
    let confidence = match word {
        // Blanks between the letters hide the scheme from everybody but browsers.
        b"javascript" | b"vbscript" | b"livescript" | b"jscript" if spaced(before, count) => 0.85,
        b"javascript" | b"vbscript" | b"livescript" | b"jscript" if behind.first() == Some(&b' ') => 0.4,
        b"javascript" | b"vbscript" | b"livescript" | b"jscript" => {
            if near.iter().any(|byte| matches!(byte, b'(' | b'`' | b'=' | b'[' | b'%' | b'/' | b'\\')) {
                0.88
            } else {
                0.55
            }
        }
        b"data"
            if starts_with(near, "text/html")
                || starts_with(near, "text/xml")
                || starts_with(near, "application/xhtml") =>
        {
            0.8
        }
        b"data" if starts_with(near, "image/svg+xml") || starts_with(near, "text/javascript") => 0.7,
        _ => return None,
    };
    Some(Found { code: Code::HtmlScheme, start: at.saturating_sub(taken), end: at + 1, confidence })
}

/// Whether white space stands between the last `letters` letters of a text.
fn spaced(text: &[u8], letters: usize) -> bool {
    let text = text.trim_ascii_end();
    text.get(text.len().saturating_sub(letters)..)
        .is_some_and(|tail| tail.iter().any(u8::is_ascii_whitespace))
}

fn starts_with(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confidence(value: &str) -> f32 {
        find(value.as_bytes(), &mut 0).map_or(0.0, |found| found.confidence)
    }

    #[test]
    fn script_in_its_many_forms() {
        for value in [
            "<script>alert(1)</script>",
            "<ScRiPt/x src=//evil>",
            "</textarea><script",
            "<svg/onload=alert(1)>",
            "<img src=x onerror\x0c=alert(1)>",
            "<details open ontoggle=confirm()>",
            "\" onmouseover=\"alert(1)",
            "jav\tascript:alert(1)",
            "javascript:alert`1`",
            "<a href=\"data:text/html;base64,PHN\">",
            "<iframe src=//evil>",
            "<meta http-equiv=refresh content=0>",
            "<x:script xmlns:x=\"y\">",
            "<body/onpageshow=alert(1)>",
            "<fencedframe src=//evil>",
            "<svg><use href='data:image/svg+xml;base64,PHN2'></svg>",
            "<svg><use xlink:href=\"#a\"/><use href=//evil/x.svg#b>",
            "<svg><use href=#a /><USE HREF=//evil>",
            "<svg><use x='>' href=//evil>",
            "<svg><use href=#a /><script>x",
            "<iframe src=https://www.youtube.com/embed/a srcdoc=x>",
            "<iframe src='https://www.youtube.com.evil.example/embed/'>",
        ] {
            assert!(confidence(value) >= 0.7, "{value}: {}", confidence(value));
        }
    }

    #[test]
    fn text_that_is_no_script() {
        for value in [
            "a < b and c > d",
            "<b>bold</b> and <i>italic</i>",
            "JavaScript: the good parts",
            "one = two, online=yes, onion = 3",
            "The script <scripture> of the play",
            "data: text about html",
            "http://example.com/?on=1&only=2",
            "i <3 you",
            "season=5&option=a",
        ] {
            assert!(confidence(value) < 0.5, "{value}: {:?}", find(value.as_bytes(), &mut 0));
        }
    }

    #[test]
    fn pictures_and_styles_of_pages() {
        for value in [
            "<svg viewBox=\"0 0 24 24\"><use xlink:href=\"#a\"/></svg>",
            "<svg><use href='#icon'></use></svg>",
            "<iframe width=\"560\" src=\"https://www.youtube.com/embed/a?b=1\" allowfullscreen></iframe>",
            "<style>.a{width:100%;background:url('https://shop.example/a.png')}</style>",
        ] {
            assert!(confidence(value) <= 0.6, "{value}: {:?}", find(value.as_bytes(), &mut 0));
        }
    }

    #[test]
    fn any_bytes_end() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
        find(&bytes, &mut 0);
        for part in ["<", "=", ":", "<script", " on", "onload="] {
            find(part.repeat(20_000).as_bytes(), &mut 0);
        }
    }
}
