//! The client's half of the admin socket, for the command line and for tests.

use std::path::{Path, PathBuf};

use comet_kernel::contract::admin::{Answer, Command, Frame, Hello, VERSION};
use tokio::net::UnixStream;

pub use crate::wire::WireError;

use crate::wire::Wire;

/// A connection to a node's admin socket.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    last: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no node at {}: {reason}", path.display())]
    NoNode {
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The node does not serve this client.
    #[error("the node refuses: {0}")]
    Refused(String),
    /// Something else than a node listens there.
    #[error("{} is not the admin socket of a comet node", .0.display())]
    NotComet(PathBuf),
    /// The connection failed. A command that was sent may or may not have been carried out.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The node hung up. A command that was sent may or may not have been carried out.
    #[error("the node hung up before it answered; it may be stopping")]
    HungUp,
}

impl Client {
    /// Connects and greets.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|reason| ClientError::NoNode { path: path.to_owned(), reason })?;
        let mut wire = Wire::new(stream);
        // A node that is full refuses and hangs up without reading; what it said is still there to be read.
        let greeted = wire.send(&Hello::own()).await;
        let hello: Hello = match wire.receive().await {
            Ok(Some(hello)) => hello,
            Ok(None) => return Err(ClientError::HungUp),
            Err(WireError::Broken(error)) => return Err(WireError::Broken(error).into()),
            Err(_) => return Err(ClientError::NotComet(path.to_owned())),
        };
        if hello.protocol != Hello::own().protocol {
            return Err(ClientError::NotComet(path.to_owned()));
        }
        if let Some(reason) = hello.refusal {
            return Err(ClientError::Refused(reason));
        }
        if hello.version != VERSION {
            return Err(ClientError::Refused(version_mismatch(VERSION, hello.version)));
        }
        greeted?;
        Ok(Client { wire, last: 0 })
    }

    /// Asks for something that has one answer.
    pub async fn ask(&mut self, command: Command) -> Result<Answer, ClientError> {
        self.send(command).await?;
        self.next().await
    }

    /// Asks for something that has several answers; [`Client::next`] takes them. What is left of a former stream is
    /// passed over.
    pub async fn send(&mut self, command: Command) -> Result<(), ClientError> {
        self.last += 1;
        Ok(self.wire.send(&Frame { id: self.last, body: command }).await?)
    }

    /// The next answer to what was asked last.
    pub async fn next(&mut self) -> Result<Answer, ClientError> {
        loop {
            let frame: Frame<Answer> = self.wire.receive().await?.ok_or(ClientError::HungUp)?;
            if frame.id == self.last {
                return Ok(frame.body);
            }
        }
    }
}

pub(crate) fn version_mismatch(client: u32, node: u32) -> String {
    format!(
        "the client speaks version {client} of the admin protocol and the node version {node}; use the node's own `comet`"
    )
}
