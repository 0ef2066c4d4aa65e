//! Rules about behaviour, run on the memory that all detections share.

use super::Actors;
use super::Scene;
use super::claim::{Account, Notice, Told, tell};
use super::is_excepted;
use super::table::Weigh;
use crate::facts::window::fold;
use crate::rule::{Behaviour, Progress, Seen};

impl Weigh for Progress {
    fn heap(&self) -> usize {
        Progress::heap(self)
    }
}

impl Actors {
    /// Goes on with every rule that the transaction concerns.
    pub(super) fn behaviours(&mut self, scene: &Scene<'_>, notices: &mut Vec<Notice>) {
        let Self { rules, progress, clients, counters, settings, .. } = self;
        let seen = Seen { facts: scene.facts, client: scene.client, now: scene.now };
        for rule in rules.behaviours() {
            let Some(key) = rule.key(&seen) else { continue };
            if progress.get(key).is_none() && !rule.begins(&seen) {
                continue;
            }
            let complete = progress.with(key, |progress| rule.advance(progress, &seen));
            let examples = clients.with(scene.client, |client| {
                // A step that only counts what everybody does makes nobody a suspect.
                let suspect = if complete { Some(client.suspect()) } else { client.as_suspect() }?;
                suspect.show(scene.facts);
                let number = rule.info().number ^ fold(scene.address);
                let told =
                    complete && suspect.tell(number, rule.confidence().get(), scene.now, settings.quiet_secs);
                told.then(|| suspect.examples(scene.facts))
            });
            if !complete {
                continue;
            }
            match examples {
                _ if is_excepted(rules, &rule.info().id, scene.facts) => counters.findings_excepted += 1,
                Some(examples) => {
                    counters.findings += 1;
                    notices.push(notice(rule, examples));
                }
                None => counters.findings_repeated += 1,
            }
        }
    }
}

fn notice(rule: &Behaviour, examples: Vec<String>) -> Notice {
    let (words, count) = rule.counted();
    let counted = format!("{count} {words}");
    let account = Account { window_secs: rule.window_secs().into(), counts: vec![(words, count)], examples };
    let told = Told { class: rule.class(), severity: rule.severity(), confidence: rule.confidence().get() };
    tell(rule.info(), told, &counted, account)
}
