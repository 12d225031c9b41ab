//! The client, as JavaScript sees it.

use std::cell::RefCell;

use llmtrail::{Language, Options, ScopeOptions, stream_usage};
use napi::bindgen_prelude::{AsyncTask, Function};
use napi_derive::napi;

use crate::convert::{Result, coded, millis, usage};
use crate::delivery::{Doctor, Flush, Report, Settle, Stats, Whose};
use crate::hooks::{bell, which};
use crate::scope::{self, Scope};

thread_local! {
    /// The clients of this thread's JavaScript, by their numbers.
    static NUMBERED: RefCell<Vec<Option<llmtrail::Client>>> = const { RefCell::new(Vec::new()) };
}

/// Captures calls and delivers their events. Its name here is that in JavaScript: an `impl` in another file is known to
/// belong to it by nothing else.
#[napi]
pub struct NativeClient(pub(crate) llmtrail::Client, u32);

impl NativeClient {
    fn of(client: llmtrail::Client) -> Self {
        let number = NUMBERED.with_borrow_mut(|all| {
            let at = all.iter().position(Option::is_none).unwrap_or(all.len());
            all.resize_with(all.len().max(at + 1), || None);
            all[at] = Some(client.clone());
            at
        });
        Self(client, u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        let last = NUMBERED.try_with(|all| all.try_borrow_mut().ok()?.get_mut(self.1 as usize)?.take());
        drop(last);
    }
}

/// Has a client do something, by its number: for what is done at every call. A method of an object is made sure of, and
/// its object held, in ways that take longer than what it does.
pub(crate) fn numbered<T>(number: u32, step: impl FnOnce(&llmtrail::Client) -> T) -> Result<T> {
    NUMBERED.with_borrow(|all| {
        let client = all.get(number as usize).and_then(Option::as_ref);
        client.map(step).ok_or_else(|| usage(format!("there is no client {number}")))
    })
}

#[napi]
impl NativeClient {
    /// A client with the options of a JSON object, and the hooks that the application has. `ring` is called when there
    /// is work for them.
    #[napi(constructor)]
    pub fn new(options: String, hooks: Vec<String>, ring: Option<Function<'_, (), ()>>) -> Result<Self> {
        let mut options = Options::from_json(Language::Node, &options).map_err(|error| coded(&error))?;
        if let Some(ring) = ring {
            options = options.hooks_elsewhere(which(&hooks), bell(&ring)?);
        }
        llmtrail::Client::new(options).map(Self::of).map_err(|error| coded(&error))
    }

    /// By what functions that take no object know it.
    #[napi(getter)]
    pub fn number(&self) -> u32 {
        self.1
    }

    /// What everything that is queued may take, in bytes: an answer that is larger cannot be handed over.
    #[napi(getter)]
    pub fn max_memory(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an option of at most 64 GiB")]
        let most = self.0.config().max_memory as f64;
        most
    }

    /// Whether a request to this address is observed: 0 no, 1 yes, 2 yes, and usage may have to be asked for in its
    /// streams. `certain`: only where the address alone shows that it is a call to a model.
    #[napi]
    pub fn recognises(&self, method: String, url: String, provider: Option<String>, certain: bool) -> u32 {
        self.0
            .recognise(&method, &url, provider.as_deref())
            .filter(|found| found.certain || !certain)
            .map_or(0, |found| 1 + u32::from(self.0.config().stream_usage && stream_usage::may_ask(&found)))
    }

    /// Opens a scope inside another one, or at the top.
    #[napi]
    pub fn open(&self, kind: String, parent: Option<&Scope>, options: String) -> Result<Scope> {
        let kind = scope::kind(&kind).ok_or_else(|| usage(format!("{kind}: unknown kind of scope")))?;
        let options = ScopeOptions::read(&mut scope::fields(&options)?);
        Ok(Scope(self.0.open(kind, parent.map(|scope| &scope.0), options)))
    }

    /// Ends a scope.
    #[napi]
    pub fn close(&self, scope: &Scope) {
        self.0.close(&scope.0);
    }

    /// What the calls in a scope used and cost, once they are decoded.
    #[napi]
    pub fn totals(&self, scope: &Scope, timeout: f64) -> AsyncTask<Settle> {
        AsyncTask::new(Settle {
            client: self.0.clone(),
            whose: Whose::Scope(scope.0.clone()),
            timeout: millis(timeout),
        })
    }

    /// Sends what there is.
    #[napi]
    pub fn flush(&self, timeout: f64) -> AsyncTask<Flush> {
        AsyncTask::new(Flush { client: self.0.clone(), timeout: millis(timeout), last: false })
    }

    /// Sends what there is and ends the worker.
    #[napi]
    pub fn shutdown(&self, timeout: f64) -> AsyncTask<Flush> {
        AsyncTask::new(Flush { client: self.0.clone(), timeout: millis(timeout), last: true })
    }

    /// As `shutdown`, on the caller's thread: for the end of the process, when no promise is ever kept.
    #[napi]
    pub fn shutdown_now(&self, timeout: f64) -> Report {
        self.0.shutdown(millis(timeout)).into()
    }

    /// How things stand.
    #[napi]
    pub fn stats(&self) -> Stats {
        self.0.stats().into()
    }

    /// Looks at everything that decides whether calls become events; `host` is what Node knows of it, as JSON.
    #[napi]
    pub fn doctor(&self, host: String, timeout: f64) -> Result<AsyncTask<Doctor>> {
        let host = serde_json::from_str(&host).map_err(|error| usage(format!("host: {error}")))?;
        Ok(AsyncTask::new(Doctor { client: self.0.clone(), host: Some(host), timeout: millis(timeout) }))
    }

    /// Counts something of ours that went wrong while a call was observed.
    #[napi]
    pub fn note(&self) {
        self.0.note("observer");
    }
}
