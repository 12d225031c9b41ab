//! The local store: events in a SQLite file.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::event::WireEvent;

/// The store in a folder, open for writing.
pub(crate) struct Store {}

impl Store {
    /// Opens the store in a folder; makes both when they are not there.
    pub(crate) fn open(_dir: &Path) -> Result<Self> {
        Err(Error::new(ErrorKind::Store, "the local store is not built yet"))
    }

    /// Writes events in one transaction. An event that is already there stays as it is.
    pub(crate) fn write(&mut self, _events: &[WireEvent]) -> Result<()> {
        Ok(())
    }
}
