//! The one error type. What happens while a call is observed is never an error here: it is counted.

/// What kind of mistake or trouble an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, environment variable or price file that cannot be used.
    Config,
    /// A call of this library's API that makes no sense, such as a feedback without a trace.
    Usage,
    /// The local store cannot be opened, read or written.
    Store,
    /// The input of a command cannot be read or is not what it should be.
    Input,
}

impl ErrorKind {
    /// The code of this kind, the same in Rust, Python and JavaScript.
    pub fn code(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Usage => "usage",
            Self::Store => "store",
            Self::Input => "input",
        }
    }
}

/// An error at the door: a sentence that says what failed, on what, and what to do; a kind; and the cause, if any.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A [`ErrorKind::Config`] error.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its kind; [`ErrorKind::code`] names it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
