//! The web viewer of the local store: pages for the one who runs it, served on this machine only, read-only.
//!
//! Pages are HTML made here, so that each shows at once and works without JavaScript; a little of it makes them live
//! and adds the keyboard. Everything that pages need is in the binary.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is shown and compared here are rounded numbers: seconds, pixels, shares"
)]

mod chart;
mod columns;
mod conversation;
mod data;
mod filter;
mod gather;
mod load;
mod markdown;
mod page;
mod pages;
mod query;
mod server;
mod snippets;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The port that is tried first, so that an address that somebody keeps stays the same.
const PORT: u16 = 4983;

/// A viewer that listens and does not serve yet.
pub struct Viewer {
    listener: TcpListener,
    server: server::Server,
}

impl Viewer {
    /// A viewer of the store in a file, which need not be there yet. It listens on 127.0.0.1, on this port, or on a free
    /// one when none is given.
    ///
    /// # Errors
    /// An input error when the port is taken.
    pub fn bind(file: PathBuf, port: Option<u16>) -> Result<Self> {
        let listen = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = match port {
            Some(port) => listen(port),
            None => listen(PORT).or_else(|_| listen(0)),
        };
        let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let address = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = address.map_err(|error| {
            let on = port.map_or_else(String::new, |port| format!(" on port {port}"));
            Error::new(ErrorKind::Input, format!("cannot listen on 127.0.0.1{on}: {error}; try another --port"))
                .with_source(error)
        })?;
        Ok(Self { listener, server: server::Server::new(Arc::new(load::Store::new(file)), address.port()) })
    }

    /// The address to open. It holds a secret: whoever has it can read the store.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// An input error when the system does not let it serve.
    pub fn serve(self) -> Result<()> {
        let Self { listener, server } = self;
        let fail = |error: std::io::Error| {
            Error::new(ErrorKind::Input, format!("the viewer cannot serve: {error}")).with_source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(4)
            .build()
            .map_err(fail)?;
        server.store().load();
        runtime
            .block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, server.router()).await
            })
            .map_err(fail)
    }
}
