//! Foreign rules in, ours or reasons out.

use super::*;

pub(super) fn none(_: &str, name: &str) -> Result<String, String> {
    Err(format!("`{name}` is not there"))
}

/// What becomes of the rules in `text`: the TOML, then a line for each rule.
pub(super) fn check(format: Format, text: &str) -> (String, Vec<String>) {
    let file = Foreign { name: "f.conf".into(), text: text.into() };
    let done = import(format, &[file], &none);
    let shown = |entry: &Entry| {
        let fate = match &entry.fate {
            Fate::Taken => "taken".to_owned(),
            Fate::TakenWithLoss(losses) => format!("loss: {}", losses.join("; ")),
            Fate::Control(why) => format!("control: {why}"),
            Fate::Left(why) => format!("left: {why}"),
        };
        format!("{} {} {fate}", entry.at.line, entry.name)
    };
    (done.files.values().cloned().collect(), done.entries.iter().map(shown).collect())
}

mod seclang {
    use super::*;

    fn seclang(text: &str) -> (String, Vec<String>) {
        check(Format::Seclang, text)
    }

    #[test]
    fn a_rule_becomes_a_rule() {
        let (text, fates) = seclang(
            "SecRule REQUEST_COOKIES|!REQUEST_COOKIES:/^sid/|ARGS|XML:/* \"@rx (?i)\\bdrop\\s+planet\\b\" \\\n    \
             \"id:4711,phase:2,block,t:none,t:urlDecodeUni,msg:'Planet, dropped',tag:'attack-sqli',severity:'CRITICAL'\"",
        );
        assert_eq!(fates, ["1 seclang-4711 taken"]);
        for part in [
            "id = \"seclang-4711\"",
            "number = 4711",
            "title = \"Planet, dropped\"",
            "class = \"SQL_INJECTION\"",
            "severity = \"high\"",
            "confidence = 0.8",
            "tags = [\"attack-sqli\"]",
            "fields = [\"cookie\", \"query\", \"body.form\", \"body.json\", \"body.multipart\", \"body.xml\"]",
            "except = [\"cookie.sid*\"]",
            "decoders = [\"percent\"]",
            "pattern = '(?i)\\bdrop\\s+planet\\b'",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn chains_become_conditions() {
        let (text, fates) = seclang(
            "SecRule REQUEST_METHOD \"@streq POST\" \"id:1,phase:1,block,t:none,msg:'x',severity:'WARNING',chain\"\n\
             SecRule &REQUEST_HEADERS:Content-Type \"@eq 0\" \"t:none,chain\"\n\
             SecRule REQUEST_HEADERS:X-Kind \"!@rx ^[a-z]+$\" \"t:none\"",
        );
        assert_eq!(fates.len(), 1, "{fates:?}");
        assert!(text.contains("fields = [\"method\"]") && text.contains("pattern = \"^POST$\""), "{text}");
        assert!(text.contains("{ fields = [\"header.content-type\"], at_least = 0, at_most = 0 }"), "{text}");
        assert!(text.contains("{ fields = [\"header.x-kind\"], at_least = 1 }"), "{text}");
        assert!(text.contains("fields = [\"header.x-kind\"]") && text.contains("not = true"), "{text}");
    }

    #[test]
    fn everything_else_is_listed_with_its_reason() {
        let rows: &[(&str, &str)] = &[
            (
                "SecRule TX:PL \"@lt 2\" \"id:1,pass,nolog,skipAfter:END\"",
                "control: it looks at variables of the rule set only",
            ),
            (
                "SecRule REQUEST_FILENAME \"@endsWith /x\" \"id:1,pass,nolog,ctl:ruleRemoveById=3\"",
                "control: it changes which rules",
            ),
            ("SecAction \"id:9,phase:1,nolog,pass,setvar:tx.a=1\"", "control: it sets variables"),
            ("SecMarker END", "control: a place to skip to"),
            (
                "SecRule ARGS \"@rx abcd\" \"id:1,block,msg:'m',chain\"",
                "left: a chain without its end, or of more than 16 rules",
            ),
            ("SecRuleEngine On", "control: directive `SecRuleEngine` is a setting"),
            ("Include x.conf", "left: directive `Include`"),
            ("SecRule ARGS \"@rx evil(?!x)\" \"id:1,block,msg:'m'\"", "left: look-ahead"),
            (
                "SecRule ARGS \"@rx \\w+\" \"id:1,block,msg:'m'\"",
                "left: the shortest literal that every match contains",
            ),
            ("SecRule ARGS \"@inspectFile x\" \"id:1,block,msg:'m'\"", "left: operator `@inspectfile`"),
            ("SecRule GEO:X \"@streq DE\" \"id:1,block,msg:'m'\"", "left: variable `GEO:X`"),
            ("SecRule ARGS \"@rx abcd\" \"id:1,block,msg:'m',t:sha1\"", "left: transformation `sha1`"),
            ("SecRule ARGS \"!@rx abcd\" \"id:1,block,msg:'m'\"", "left: negated over many fields"),
            (
                "SecRule ARGS \"@rx abcd\" \"id:1,block,msg:'m',chain\"\nSecRule TX:0 \"@rx x\"",
                "left: variable `TX:0` of the rule set (line 2 of its chain)",
            ),
        ];
        for (text, expected) in rows {
            let (_, fates) = seclang(text);
            assert!(fates.len() == 1 && fates[0].contains(expected), "{text}\n{fates:?}");
        }
    }

    #[test]
    fn operators_beside_patterns_are_taken() {
        let rows = [
            (
                "SecRule REQUEST_HEADERS:User-Agent \"@pm evilbot nastybot\" \"id:1,block,msg:'m'\"",
                "phrases = [\"evilbot\", \"nastybot\"]",
            ),
            ("SecRule ARGS \"@detectSQLi\" \"id:1,block,msg:'m'\"", "coded = [\"sql-*\"]"),
            ("SecRule RESPONSE_STATUS \"@ge 500\" \"id:1,block,msg:'m'\"", "number_from = 500"),
            (
                "SecRule REQUEST_HEADERS:X-Real-IP \"@ipMatch 10.0.0.0/8\" \"id:1,block,msg:'m'\"",
                "addresses = [\"10.0.0.0/8\"]",
            ),
            (
                "SecRule REMOTE_ADDR \"!@ipMatch 10.0.0.0/8,::1\" \"id:1,block,msg:'m',chain\"\nSecRule ARGS \"@rx evil-thing\"",
                "when = \"!(in_network(client.address, '10.0.0.0/8') || in_network(client.address, '::1'))\"",
            ),
            ("SecRule REMOTE_ADDR \"@ipMatch 192.0.2.0/24\" \"id:1,block,msg:'m'\"", "client=192.0.2.0"),
            ("SecRule &ARGS \"@gt 20\" \"id:1,block,msg:'m'\"", "at_least = 21"),
            ("SecRule ARGS \"@gt 400\" \"id:1,block,msg:'m',t:length\"", "min_length = 401"),
            (
                "SecAction \"id:2,setvar:'tx.allowed=GET HEAD'\"\nSecRule REQUEST_METHOD \"!@within %{tx.allowed}\" \"id:1,block,msg:'m'\"",
                "pattern = \"(?-i:^(?:GET|HEAD)$)\"",
            ),
        ];
        for (text, expected) in rows {
            let (toml, fates) = seclang(text);
            assert!(toml.contains(expected), "{text}\n{toml}\n{fates:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_read(text in r#"(SecRule |SecAction |SecMarker |ARGS|XML:/\*|TX:a|"@rx |"@pm |"!@streq |"id:1,chain,|t:none,|msg:'|\\\n|\n|["'\\|,:()\[\]a-c%{} ]){0,40}"#) {
            let (toml, _) = seclang(&text);
            proptest::prop_assert!(toml.is_empty() || toml::from_str::<toml::Table>(&toml).is_ok());
        }
    }
}

mod suricata {
    use super::*;

    fn suricata(options: &str) -> (String, String) {
        let text =
            format!("alert http $EXTERNAL_NET any -> $HTTP_SERVERS any (msg:\"m\"; {options} sid:9; rev:2;)");
        let (toml, fates) = check(Format::Suricata, &text);
        (toml, fates.join("\n"))
    }

    #[test]
    fn contents_become_patterns() {
        let rows: &[(&str, &[&str])] = &[
            (
                "flow:established,to_server; http.method; content:\"POST\"; http.uri; content:\"/wp-admin/\"; nocase; content:\"x=|27|\"; distance:0; fast_pattern;",
                &[
                    "fields = [\"method\"]",
                    "(?-i:POST)",
                    "fields = [\"target\"]",
                    "(?i:/wp\\-admin/).*?(?-i:x=')",
                    "revision = 2",
                    "number = 9",
                ],
            ),
            (
                "content:\"/old/way.php\"; http_uri; content:\"evilbot\"; http_user_agent; nocase;",
                &["fields = [\"target\"]", "(?-i:/old/way\\.php)", "header.user-agent"],
            ),
            ("http.uri; pcre:\"/\\/a{3}[0-9]+\\.php$/i\";", &["(?i:(?-s:/a{3}[0-9]+\\.php$))"]),
            ("pcre:\"/evil-[a-z]+/Ui\";", &["fields = [\"target\"]"]),
            (
                "http.header; content:\"X-Evil|3a 20|yes|0d 0a|\"; content:!\"Accept|3a|\";",
                &["header.x-evil", "^yes$"],
            ),
            (
                "http.response_body; content:\"<title>hacked\"; http.stat_code; content:\"200\";",
                &["response.body", "response.status"],
            ),
            (
                "http.uri; content:\"/longpath\"; startswith; urilen:>100; classtype:web-application-attack; reference:cve,2021-44228; metadata:signature_severity Critical, confidence High;",
                &[
                    "^(?-i:/longpath)",
                    "min_length = 101",
                    "severity = \"critical\"",
                    "confidence = 0.85",
                    "CVE-2021-44228",
                ],
            ),
        ];
        for (options, expected) in rows {
            let (toml, fates) = suricata(options);
            for part in *expected {
                assert!(toml.contains(part), "{options}\n{part} in\n{toml}\n{fates}");
            }
        }
    }

    #[test]
    fn everything_else_is_listed_with_its_reason() {
        let rows: &[(&str, &str)] = &[
            ("content:\"abcd\";", "left: no buffer of HTTP is looked at"),
            ("http.uri; content:\"abcd\"; byte_test:1,>,3,0;", "left: option `byte_test`"),
            ("http.uri; content:\"abcd\"; flowbits:isset,x;", "left: option `flowbits`"),
            ("http.uri; pcre:\"/a(?=b)/\";", "left: look-ahead"),
            ("http.uri; content:!\"abcd\";", "left: negated over many fields"),
            ("http.uri; content:\"a\";", "left: the shortest literal"),
            (
                "http.uri; content:\"abcd\"; threshold:type limit;",
                "loss: how often it may be found is not counted",
            ),
            ("http.uri; content:\"a|2|\";", "left: content `a|2|`"),
        ];
        for (options, expected) in rows {
            let (_, fates) = suricata(options);
            assert!(fates.contains(expected), "{options}\n{fates}");
        }
        let (_, fates) =
            check(Format::Suricata, "alert dns any any -> any any (msg:\"m\"; sid:1;)\nnonsense\n");
        assert_eq!(fates[0], "1 1 left: protocol `dns`");
        assert!(fates[1].starts_with("2 (line) left: no rule of the form"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_read(text in r#"(alert http any any -> any any \(|content:"|!"|pcre:"/|/U";|http\.uri;|http_uri;|http\.header;|nocase;|distance:|within:-?[0-9]{1,3};|offset:9;|depth:1;|urilen:|<>|sid:1;|\)\n|\||[a-c0-9;:"\\ ]){0,40}"#) {
            let (toml, _) = check(Format::Suricata, &text);
            proptest::prop_assert!(toml.is_empty() || toml::from_str::<toml::Table>(&toml).is_ok());
        }
    }
}

mod sigma {
    use super::*;

    const HEAD: &str = "title: Planet Sold!\nstatus: stable\nlevel: high\nlogsource:\n  category: webserver\ntags:\n  - cve.2021-44228\n  - attack.t1190\n";

    fn sigma(detection: &str) -> (String, String) {
        let (toml, fates) = check(Format::Sigma, &format!("{HEAD}detection:\n{detection}"));
        (toml, fates.join("\n"))
    }

    #[test]
    fn selections_become_rules() {
        let (toml, fates) = sigma(
            "  selection:\n    cs-method: POST\n    cs-uri-stem|contains: '/planet/sell'\n    sc-status: 200\n  filter:\n    cs-user-agent|startswith: Good\n  condition: selection and not filter\n",
        );
        assert_eq!(fates, "1 sigma-planet-sold taken");
        for part in [
            "id = \"sigma-planet-sold\"",
            "severity = \"high\"",
            "confidence = 0.8",
            "CVE-2021-44228",
            "fields = [\"response.status\"]",
            "pattern = \"^POST$\"",
            "pattern = \"/planet/sell\"",
            "pattern = \"^Good\", not = true",
        ] {
            assert!(toml.contains(part), "{part} in\n{toml}");
        }
    }

    #[test]
    fn alternatives_over_several_fields_become_several_rules() {
        let (toml, fates) = sigma(
            "  a:\n    c-uri|contains: evil-one\n  b:\n    cs-user-agent|contains: evil-two\n  condition: 1 of them\n",
        );
        assert_eq!(fates, "1 sigma-planet-sold taken\n1 sigma-planet-sold-2 taken");
        assert!(toml.contains("pattern = 'evil\\-one'") && toml.contains("pattern = 'evil\\-two'"), "{toml}");
        let (toml, _) = sigma("  keywords:\n    - sell planet\n    - buy planet\n  condition: keywords\n");
        assert!(toml.contains("(?:sell planet|buy planet)") && toml.contains("header.referer"), "{toml}");
    }

    #[test]
    fn everything_else_is_listed_with_its_reason() {
        let rows = [
            ("  a:\n    c-uri: x\n  condition: a | count() > 3\n", "left: condition with an aggregation"),
            ("  a:\n    c-ip: x\n  condition: a\n", "left: field `c-ip`"),
            ("  a:\n    c-uri|re: '(?=x)'\n  condition: a\n", "left: look-ahead"),
            ("  a:\n    c-uri: x\n", "left: no `condition`"),
            ("  a: [\n", "left: no YAML"),
            ("  a:\n    c-uri|contains: ab\n  condition: a\n", "left: the shortest literal"),
        ];
        for (detection, expected) in rows {
            let (_, fates) = sigma(detection);
            assert!(fates.contains(expected), "{detection}\n{fates}");
        }
        let other = HEAD.replace("webserver", "process_creation");
        let (_, fates) =
            check(Format::Sigma, &format!("{other}detection: {{}}\n---\ntitle: Next\n---\n# nothing\n"));
        assert_eq!(
            fates,
            ["1 Planet Sold! left: log source `process_creation`", "11 Next left: log source `(none)`"]
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_read(detection in r"(  [ab]:\n|    c-uri\|contains: |    cs-method: |    - |\[|\{|&a|\*a|x|'|\n|  condition: |a|b| and | or | not |1 of |them|\(|\)){0,40}") {
            let (toml, _) = check(Format::Sigma, &format!("{HEAD}detection:\n{detection}"));
            proptest::prop_assert!(toml.is_empty() || toml::from_str::<toml::Table>(&toml).is_ok());
        }
    }
}
