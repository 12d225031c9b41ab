//! An event on its way past the application's hooks: each of its forms past each of the hooks that see it.

use bytes::Bytes;

use super::hook::{self, HookSet, Question, Verdict};
use crate::config::Config;
use crate::event::WireEvent;

/// What is next for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// It is about what the local store gets, and not about what everybody gets.
    stored: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Redact,
    BeforeSend,
}

/// The way past the hooks, the same for every event.
pub(crate) fn way(config: &Config, hooks: HookSet) -> Vec<Step> {
    let (all, stored) = config.policies();
    [(false, Some(all)), (true, stored)]
        .into_iter()
        .filter_map(|(stored, policy)| Some((stored, policy?)))
        .flat_map(|(stored, policy)| {
            [(What::Redact, hooks.redact && policy.redact), (What::BeforeSend, hooks.before_send)]
                .into_iter()
                .filter_map(move |(what, there)| there.then_some(Step { stored, what }))
        })
        .collect()
}

/// An event on its way.
pub(crate) struct Hooked {
    pub(crate) event: WireEvent,
    pub(crate) epoch: u64,
    at: usize,
}

/// What became of an event at a hook.
pub(crate) enum Passed {
    /// It goes on. So many of its texts are withheld, for this reason.
    On(u64, Option<String>),
    /// It is not to be sent, nor kept.
    Dropped,
    /// The same, for a hook failed.
    Failed(String),
}

impl Hooked {
    pub(crate) fn new(event: WireEvent, epoch: u64) -> Self {
        Self { event, epoch, at: 0 }
    }

    /// The next question; `None`: it is past everything.
    pub(crate) fn question(&self, way: &[Step]) -> Option<Question> {
        let step = *way.get(self.at)?;
        Some(match step.what {
            What::Redact => Question::Texts(self.form(step)),
            What::BeforeSend => Question::Event(self.form(step)),
        })
    }

    /// Does what the answer to the question says.
    pub(crate) fn answered(&mut self, way: &[Step], verdict: Verdict) -> Passed {
        let Some(step) = way.get(self.at).copied() else { return Passed::On(0, None) };
        self.at += 1;
        let form = self.form(step);
        match verdict {
            Verdict::Drop => Passed::Dropped,
            Verdict::Failed(why) => Passed::Failed(why),
            Verdict::Send(json) => match hook::revised(&WireEvent { json: form, ..self.event.clone() }, &json) {
                Ok(revised) => {
                    self.take(step, revised);
                    Passed::On(0, None)
                }
                Err(why) => Passed::Failed(why),
            },
            Verdict::Texts(texts, why) => {
                let withheld = texts.iter().filter(|text| text.is_none()).count() as u64;
                match hook::with_texts(&form, texts) {
                    Some(revised) => {
                        self.take(step, revised);
                        Passed::On(if why.is_some() { withheld.max(1) } else { withheld }, why)
                    }
                    None => Passed::Failed("the event cannot be read: a bug of llmtrail's".to_owned()),
                }
            }
        }
    }

    fn form(&self, step: Step) -> Bytes {
        let stored = self.event.stored.as_ref().filter(|_| step.stored);
        stored.unwrap_or(&self.event.json).clone()
    }

    fn take(&mut self, step: Step, form: WireEvent) {
        if step.stored {
            self.event.stored = Some(form.json);
        } else {
            self.event = WireEvent { stored: self.event.stored.take(), ..form };
        }
    }
}
