//! The socket file: whose it is, and who may speak through it.
//!
//! The file is made with mode 0600 before anybody can connect. A file that a dead node left is removed; the socket of a
//! node that lives is not. The peer's user is asked of the system for each connection, because a mode can be changed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// A bound socket. Its file goes when it is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`. `ours` tells that this node has bound it before, so that what still listens there is a former
    /// life of the same actor.
    pub(crate) fn bind(path: &Path, ours: bool) -> Result<Self, String> {
        make_room(path, ours)?;
        Socket::listen(path).map_err(|error| {
            format!("cannot listen at {}: {error}; name another path with admin.socket", path.display())
        })
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before `listen`, so the mode is right from the first connection on.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let file = identity(path)?;
        Ok(Socket { listener: socket.listen(BACKLOG)?, path: path.to_owned(), file })
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _a_leftover_is_removed_at_the_next_start = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes the socket of a node that is dead.
fn make_room(path: &Path, ours: bool) -> Result<(), String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot look at {shown}: {error}; name another path with admin.socket")),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(format!(
                "{shown} is there and is no socket; move it away or name another path with admin.socket"
            ));
        }
        Ok(_) => {}
    }
    if !ours && Probe::connect(path).is_ok() {
        return Err(format!("another node listens at {shown}; stop it or name another path with admin.socket"));
    }
    fs::remove_file(path).map_err(|error| format!("cannot remove the socket {shown} of a dead node: {error}"))
}

/// The user at the other end, if it is one who may speak: the node's own, or root.
pub(crate) fn authenticate(stream: &UnixStream) -> Result<u32, String> {
    let peer = stream.peer_cred().map_err(|error| format!("the system does not tell who asks: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    may_speak(peer.uid(), own).then_some(peer.uid()).ok_or_else(|| {
        format!("user {} may not administer the node of user {own}; ask as that user or root", peer.uid())
    })
}

fn may_speak(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_user_and_root_may_speak_and_nobody_else() {
        assert!(may_speak(1_000, 1_000) && may_speak(0, 1_000) && may_speak(0, 0));
        assert!(!may_speak(1_001, 1_000) && !may_speak(1_000, 0));
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_node_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = Socket::bind(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_a_living_node_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _living = Socket::bind(&path, false).unwrap();
        let error = Socket::bind(&path, false).unwrap_err();
        assert!(error.contains("another node listens at") && error.contains("admin.socket"), "{error}");
        assert!(Probe::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_former_life_that_hangs_on_to_the_socket_is_replaced_and_removes_nothing_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let former = Socket::bind(&path, false).unwrap();
        let _present = Socket::bind(&path, true).unwrap();
        drop(former);
        assert!(Probe::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(Socket::bind(&path, false).unwrap_err().contains("is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_refused_with_what_to_do() {
        let path = PathBuf::from("/tmp").join("x".repeat(200));
        assert!(Socket::bind(&path, false).unwrap_err().contains("admin.socket"));
    }
}
