//! The core's errors as the package's exceptions.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use llmtrail::{Error, ErrorKind};

/// The exception for an error of the core. The classes live in Python, where they can be documented and subclassed.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("llmtrail._errors")?.getattr("make")?.unbind()));
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match make.and_then(|make| make.bind(py).call1((error.kind().code(), error.to_string(), cause))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(trouble) => trouble,
    }
}

/// An error for an argument that is not what it should be.
pub(crate) fn usage(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, &Error::new(ErrorKind::Usage, message))
}
