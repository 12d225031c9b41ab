//! The Python binding: it only translates.

use std::ffi::OsString;

use pyo3::prelude::*;

mod client;
mod cost;
mod delivery;
mod error;
mod filter;
mod manual;
mod observation;
mod scope;

/// Runs the command line with these arguments (the program's name not among them) and says the exit code.
#[pyfunction]
fn cli(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| llmtrail::cli::run(argv))
}

// Every class here is frozen and holds only what is `Send + Sync`: nothing leans on the GIL.
#[pymodule(gil_used = false)]
#[pyo3(name = "_core")]
fn core_module(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<client::Client>()?;
    module.add_class::<scope::Scope>()?;
    module.add_class::<filter::Filter>()?;
    module.add_class::<manual::Timer>()?;
    module.add_class::<delivery::Report>()?;
    module.add_class::<delivery::Stats>()?;
    module.add_class::<delivery::SinkStats>()?;
    module.add_function(wrap_pyfunction!(cost::cost, module)?)?;
    module.add_function(wrap_pyfunction!(cost::set_price, module)?)?;
    module.add_function(wrap_pyfunction!(cli, module)?)
}
