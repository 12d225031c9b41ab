//! The Node binding: it only translates. What JavaScript sees of it is declared in `lib/native.ts`.

#![expect(clippy::too_many_arguments, reason = "one call across the border, and objects are slow to read")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "what crosses the border is owned: JavaScript keeps nothing that Rust could borrow"
)]

mod budget;
pub mod call;
mod client;
mod convert;
pub mod cost;
mod delivery;
mod hooks;
pub mod manual;
mod scope;

use std::ffi::OsString;

use llmtrail::Language;
use llmtrail::cli::Caller;
use napi_derive::napi;

#[global_allocator]
static ALLOCATOR: llmtrail::allocator::MiMalloc = llmtrail::allocator::MiMalloc;

#[napi_derive::module_init]
fn init() {
    llmtrail::allocator::set_up();
}

/// Runs the command line with these arguments (the program's name not among them) and says the exit code. `host`: what
/// `doctor` is to know of Node, as JSON.
#[napi]
pub fn run_cli(args: Vec<String>, host: Option<String>) -> u8 {
    let host = host.and_then(|host| serde_json::from_str(&host).ok()).unwrap_or_default();
    llmtrail::cli::run_from(Caller { language: Language::Node, host }, args.into_iter().map(OsString::from))
}

/// The names of the SDKs that `doctor` looks for.
#[napi]
pub fn known_sdks() -> Vec<String> {
    llmtrail::doctor::known(Language::Node)
}

/// The names of the headers that are read; observers pass these and no other.
#[napi(object)]
pub struct HeaderNames {
    /// Of requests.
    pub request: Vec<String>,
    /// Of responses.
    pub response: Vec<String>,
    /// What those of requests have in their names that speak for the body.
    pub seals: Vec<String>,
}

/// See [`HeaderNames`].
#[napi]
pub fn header_names() -> HeaderNames {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    HeaderNames {
        request: owned(llmtrail::exchange::REQUEST_HEADERS),
        response: owned(llmtrail::exchange::RESPONSE_HEADERS),
        seals: owned(llmtrail::stream_usage::SEALS),
    }
}

/// Whether anything may have to be taken out of a response with this head, when usage was asked for.
#[napi]
pub fn filters(status: u32, headers: String) -> bool {
    !llmtrail::stream_usage::Filter::new(u16::try_from(status).unwrap_or_default(), &convert::pairs(&headers), true)
        .is_off()
}
