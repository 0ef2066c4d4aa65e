//! Input → exact messages, and the default file held against the defaults.

use super::*;

/// Every mistake of `text`, as people read them.
fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(Path::new("s.toml"), text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(Config::parse(Path::new("s.toml"), ""), Ok(Config::default()));
}

/// The default file with every commented key switched on.
fn uncommented() -> String {
    let mut text = String::new();
    for line in DEFAULT_FILE.lines() {
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        text.push_str(key.unwrap_or(line));
        text.push('\n');
    }
    text
}

#[test]
fn the_default_file_states_the_defaults() {
    assert_eq!(Config::parse(Path::new("s.toml"), DEFAULT_FILE), Ok(Config::default()));
    assert_eq!(Config::parse(Path::new("s.toml"), &uncommented()), Ok(Config::default()));
}

#[test]
fn the_default_file_mentions_every_key() {
    let known = super::read::known_keys();
    assert!(known.len() > 30, "{known:?}");
    let text = uncommented();
    let table: toml::Table = text.parse().unwrap();
    for key in known {
        let (section, key) = key.split_once('.').unwrap();
        assert!(table[section].get(key).is_some(), "{section}.{key} is not in the default file");
    }
}

#[test]
fn each_mistake_is_named_with_its_place_and_what_is_expected() {
    for (text, expected) in [
        ("[capture]\nsampel = 0.5\n", "s.toml:2:1: unknown key `capture.sampel`, did you mean `sample`?"),
        ("[respond]\n", "s.toml:1:2: unknown section `respond`, did you mean `response`?"),
        (
            "[detection]\ncolour = 1\n",
            "s.toml:2:1: unknown key `detection.colour`, expected one of rules_dir, jwt_keys, response_exposure, model, rule_timing",
        ),
        (
            "[capture]\nsample = 2\n",
            "s.toml:2:10: `capture.sample`: got the integer `2`, expected a number from 0.0 to 1.0",
        ),
        (
            "[capture]\nsample = nan\n",
            "s.toml:2:10: `capture.sample`: got the number `nan`, expected a number from 0.0 to 1.0",
        ),
        (
            "[capture]\nports = [80, 0]\n",
            "s.toml:2:14: `capture.ports`: got the integer `0`, expected an integer from 1 to 65535",
        ),
        (
            "[capture]\nports = 80\n",
            "s.toml:2:9: `capture.ports`: got the integer `80`, expected a list in brackets",
        ),
        (
            "[capture]\nxdp_mode = \"fast\"\n",
            "s.toml:2:12: `capture.xdp_mode`: got the text `fast`, expected one of `auto`, `native`, `generic`, `off`",
        ),
        (
            "[capture]\nring_bytes = 100000\n",
            "s.toml:2:14: `capture.ring_bytes`: got the integer `100000`, expected a power of two from 65536 to 1073741824",
        ),
        (
            "[capture]\ninterfaces = [\"a/b\"]\n",
            "s.toml:2:15: `capture.interfaces`: `a/b` is no interface name, expected 1 to 15 characters like `eth0`",
        ),
        (
            "[response]\nenforce = \"yes\"\n",
            "s.toml:2:11: `response.enforce`: got the text `yes`, expected `true` or `false`",
        ),
        (
            "[response]\nexempt = [\"10.0.0.1/8\"]\n",
            "s.toml:2:11: `response.exempt`: `10.0.0.1/8` has bits set behind its prefix length, expected \
             `10.0.0.0/8` for the network or `10.0.0.1` for the address",
        ),
        (
            "[response]\nblock_from = 0.3\n",
            "s.toml:2:14: `response.block_from`: got 0.30, expected at least `report_from` (0.50), so that nothing is \
             blocked without a report",
        ),
        (
            "[response]\nblock_from_class = [\"JWT\"]\n",
            "s.toml:2:21: `response.block_from_class`: got `JWT`, expected a class and a number from 0 to 1, such as `CSRF=0.9`",
        ),
        (
            "[response]\nblock_severity = \"bad\"\n",
            "s.toml:2:18: `response.block_severity`: unknown severity `bad`, expected one of critical, high, medium, \
             low, info",
        ),
        (
            "[api]\nlisten = \"localhost\"\n",
            "s.toml:2:10: `api.listen`: `localhost` is no address with a port, expected one like `127.0.0.1:9470` or \
             `[::1]:9470`",
        ),
        (
            "[api]\nlisten = \"0.0.0.0:9470\"\n",
            "s.toml:2:10: `api.listen`: `0.0.0.0:9470` is reachable from other hosts and the API speaks plain HTTP, \
             expected a loopback address (or set `allow_plain_remote = true` if something in front of it speaks TLS)",
        ),
        (
            "[limits]\nmax_stream_bytes = 2097152\nmax_total_bytes = 1048576\n",
            "s.toml:2:20: `limits.max_stream_bytes`: got `2097152`, expected at most `max_total_bytes` (`1048576`)",
        ),
        ("store = 1\n", "s.toml:1:9: `store` is the integer `1`, expected a section `[store]`"),
        ("[store]\npath = \"\"\n", "s.toml:2:8: `store.path`: got the text ``, expected a path in quotes"),
    ] {
        assert_eq!(mistakes(text), [expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_text() {
    let text =
        "[response]\nenforce = 1\nblock_secs = 0\n\n[capture]\nports = [0, 1, 70000]\n# ö\nsmaple = 1\n";
    let lines: Vec<_> =
        mistakes(text).iter().map(|m| m.split(": ").next().unwrap_or("").to_owned()).collect();
    assert_eq!(lines, ["s.toml:2:11", "s.toml:3:14", "s.toml:6:10", "s.toml:6:16", "s.toml:8:1"]);
}

#[test]
fn broken_syntax_is_a_mistake_with_a_place() {
    let found = mistakes("[capture\nsample = 1\n[api]\nlisten = \n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("s.toml:1:"), "{found:?}");
    assert!(found.iter().any(|m| m.starts_with("s.toml:4:")), "{found:?}");
}

#[test]
fn hostile_text_in_a_configuration_reaches_no_terminal() {
    let found = mistakes("\"\\u001b[2J\" = 1\n[capture]\nxdp_mode = \"\\u001b]0;x\"\n");
    assert!(!found.concat().contains('\u{1b}'), "{found:?}");
}

#[test]
fn good_values_are_taken() {
    let text = "[capture]\ninterfaces = [\"eth0\"]\nxdp_mode = \"generic\"\nxdp_replace = [\"eth0\"]\nring_bytes = 0x10_000\n[response]\n\
                enforce = true\nexempt = [\"10.0.0.0/8\", \"::1\"]\n[detection]\nrules_dir = \"r\"\n[api]\n\
                listen = \"0.0.0.0:1\"\nallow_plain_remote = true\n[alerts]\nfile = \"\"\n";
    let config = Config::parse(Path::new("s.toml"), text).unwrap();
    assert_eq!(config.capture.interfaces, ["eth0"]);
    assert_eq!(config.capture.xdp_mode, XdpChoice::Generic);
    assert_eq!(config.capture.xdp_replace, ["eth0"]);
    assert_eq!(config.capture.ring_bytes, 65_536);
    assert_eq!(config.mode(), Mode::Enforce);
    assert_eq!(config.policy().exempt.len(), 2);
    assert_eq!(config.detection.rules_dirs, [Path::new("r")]);
    assert_eq!(config.alerts.file, None);
    assert_eq!(config.api.listen, Some(SocketAddr::from(([0, 0, 0, 0], 1))));
}

#[test]
fn an_unreadable_file_is_refused_with_its_name() {
    let error = Config::load(Some(Path::new("/nonexistent/s.toml"))).unwrap_err();
    assert!(format!("{error:#}").starts_with("the configuration `/nonexistent/s.toml` cannot be read: "));
}
