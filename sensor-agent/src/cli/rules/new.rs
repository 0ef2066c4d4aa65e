//! `sensor-agent rules new`: a rule file to fill in, with a word on each key that is needed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::output;

/// Write a rule file to fill in
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct New {
    /// Id of the rule, kebab-case, such as `shop-coupon-flood`
    #[arg(value_parser = id)]
    name: String,
    /// Where the file is put
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn id(text: &str) -> Result<String, String> {
    let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = text.starts_with('-') || text.ends_with('-');
    match !text.is_empty() && text.len() <= 80 && !edges && text.bytes().all(kebab) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected lower case letters, digits and hyphens, such as `shop-coupon-flood`".to_owned())
        }
    }
}

impl New {
    /// Runs the command.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = self.out.join(format!("{}.toml", self.name));
        write(&path, &skeleton(&self.name))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
        output::say(&format!(
            "`{}` is there: fill it in, then run `sensor-agent rules check {}`",
            path.display(),
            self.out.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is there already stays.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn skeleton(id: &str) -> String {
    format!(
        "# What this rule is for, and where that is known from.\n\
         \n\
         [[rule]]\n\
         id = \"{id}\"\n\
         revision = 1\n\
         # One line for people who read the alert.\n\
         title = \"\"\n\
         # SQL_INJECTION, AUTH_BYPASS, JWT, CSRF, INPUT_VALIDATION, SESSION, ACCESS_CONTROL or DATA_EXPOSURE.\n\
         class = \"INPUT_VALIDATION\"\n\
         # How bad it is if it is true: critical, high, medium, low or info.\n\
         severity = \"medium\"\n\
         # How sure a match is. From 0.5 it is reported, from 0.7 it blocks, unless the policy says otherwise. 0.9 and more for\n\
         # what hardly anybody sends by accident, 0.7 for what is near to ordinary text.\n\
         confidence = 0.5\n\
         # The kind of attack, the weakness, the place in OWASP's list.\n\
         tags = [\"attack-generic\", \"CWE-20\", \"OWASP-A03\"]\n\
         # Where to look: method, path, query.NAME, header.NAME, cookie.NAME, body.json.PATH, args (all parameters), response.body.\n\
         fields = [\"args\"]\n\
         # Every match must contain a fixed text of some letters: \\bword\\b is good, \\w+=\\d is refused. Letters match in either case;\n\
         # the value is also looked at decoded, so that no pattern needs to know %27.\n\
         pattern = ''\n\
         # Only in requests that are also so:\n\
         #also = [{{ fields = [\"method\"], pattern = '^POST$' }}]\n\
         # Only in values of these lengths:\n\
         #min_length = 1\n\
         #max_length = 400\n\
         # Never block because of this rule:\n\
         #response = \"observe\"\n\
         [rule.examples]\n\
         # The attack, as it stands in the first field; \"query.id=1%27\" names another one.\n\
         match = [\"\"]\n\
         # The ordinary text that comes nearest to it.\n\
         no_match = [\"\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection;

    #[test]
    fn a_skeleton_is_refused_until_it_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        let new = New { name: id("shop-coupon").unwrap(), out: dir.path().to_owned() };
        new.run().unwrap();
        let path = dir.path().join("shop-coupon.toml");
        let refused = detection::load(&[dir.path().into()]).unwrap_err().to_string();
        assert!(refused.contains("matches the empty string"), "{refused}");
        assert!(new.run().is_err(), "it overwrites");

        let text = std::fs::read_to_string(&path).unwrap();
        let filled = [
            ("title = \"\"", "title = \"coupons by the hundred\""),
            ("pattern = ''", r"pattern = '\bcoupon-\d{3}\b'"),
            ("match = [\"\"]\n#", "match = [\"coupon-123\"]\n#"),
            ("no_match = [\"\"]", "no_match = [\"a coupon\"]"),
        ];
        let text = filled.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        std::fs::write(
            &path,
            text.replace("\n#also", "\nalso")
                .replace("\n#min", "\nmin")
                .replace("match = [\"coupon-123\"]", "match = [[\"coupon-123\", \"method=POST\"]]"),
        )
        .unwrap();
        assert_eq!(detection::load(&[dir.path().into()]).unwrap().rules.rules().len(), 1);
    }

    #[test]
    fn names_are_ids() {
        assert!(id("a-1").is_ok());
        for wrong in ["", "A", "-a", "a-", "a/b", "../a"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }
}
