//! The Python binding: it only translates.

use std::ffi::OsString;

use llmtrail::Language;
use llmtrail::cli::Caller;
use pyo3::prelude::*;

mod budget;
mod client;
mod cost;
mod delivery;
mod error;
mod hooks;
mod json;
mod manual;
mod observation;
mod reading;
mod scope;

#[global_allocator]
static ALLOCATOR: llmtrail::allocator::MiMalloc = llmtrail::allocator::MiMalloc;

/// Runs the command line with these arguments (the program's name not among them) and says the exit code. `host`: what
/// `doctor` is to know of Python, as JSON.
#[pyfunction]
#[pyo3(signature = (argv, host = None))]
fn cli(py: Python<'_>, argv: Vec<OsString>, host: Option<&str>) -> u8 {
    let host = host.and_then(|host| serde_json::from_str(host).ok()).unwrap_or_default();
    py.detach(|| llmtrail::cli::run_from(Caller { language: Language::Python, host }, argv))
}

/// The names of the SDKs that `doctor` looks for.
#[pyfunction]
fn known_sdks() -> Vec<String> {
    llmtrail::doctor::known(Language::Python)
}

// Every class here is frozen and holds only what is `Send + Sync`: nothing leans on the GIL.
#[pymodule(gil_used = false)]
#[pyo3(name = "_core")]
fn core_module(module: &Bound<'_, PyModule>) -> PyResult<()> {
    llmtrail::allocator::set_up();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<client::Client>()?;
    module.add_class::<budget::Reservation>()?;
    module.add_class::<scope::Scope>()?;
    module.add_class::<reading::Reading>()?;
    module.add_class::<hooks::Hooks>()?;
    module.add_class::<manual::Timer>()?;
    module.add_class::<delivery::Report>()?;
    module.add_class::<delivery::Stats>()?;
    module.add_class::<delivery::SinkStats>()?;
    module.add_function(wrap_pyfunction!(cost::cost, module)?)?;
    module.add_function(wrap_pyfunction!(cost::set_price, module)?)?;
    module.add_function(wrap_pyfunction!(client::part, module)?)?;
    module.add_function(wrap_pyfunction!(known_sdks, module)?)?;
    module.add_function(wrap_pyfunction!(cli, module)?)
}
