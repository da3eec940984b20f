//! The contract of the library: the scripts of a node, by name and by hash.
//!
//! ```text
//!     gateway, admin, routing
//!  -> library                              (this contract)
//!     storage
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::ScriptHash;

/// Loads a version of a named script. Answers its hash once the version is durable and in use.
#[derive(Clone, Debug)]
pub struct LoadScript {
    /// The name: 1 to 128 bytes of letters, digits, `_`, `-`, `.` and `/`.
    pub name: Arc<str>,
    /// The source.
    pub source: Arc<str>,
    /// Who loads it, for the audit: a user, `operator`, or the watched file.
    pub by: String,
}

/// Answers every named script, in the order of names.
#[derive(Clone, Debug)]
pub struct ListScripts;

/// Answers the present version of a named script, and its source.
#[derive(Clone, Debug)]
pub struct ShowScript {
    /// The name.
    pub name: Arc<str>,
}

/// Forgets a name. Objects that follow it stay with the version they have, and follow the name again should it come back:
/// loaded anew, or as the built-in script of that name, which does so at once.
#[derive(Clone, Debug)]
pub struct DropScript {
    /// The name.
    pub name: Arc<str>,
}

/// Goes back to the former version of a name. Answers the hash that is present then.
#[derive(Clone, Debug)]
pub struct RollbackScript {
    /// The name.
    pub name: Arc<str>,
}

/// What is known of one named script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScriptSummary {
    /// The name.
    pub name: String,
    /// The hash of the present version.
    pub hash: String,
    /// How many versions are kept.
    pub versions: usize,
    /// Where the present version came from: `built-in`, a user, `operator`, or a file.
    pub origin: String,
    /// Size of the source, bytes.
    pub bytes: usize,
    /// The handlers that it defines.
    pub handlers: Vec<String>,
    /// Handler calls of the present version on this node since it was loaded or the node started.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The source, in the answer to [`ShowScript`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Keeps the source of a script that has no name here, so that objects can use it by its hash. Answers its hash once it
/// is durable.
#[derive(Clone, Debug)]
pub struct KeepSource {
    /// The source.
    pub source: Arc<str>,
}

/// Answers what is known of a script by its hash; none if this node does not have it.
#[derive(Clone, Debug)]
pub struct Describe {
    /// The hash.
    pub hash: ScriptHash,
}

/// A script by its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The source.
    pub source: Arc<str>,
    /// Whether it has a handler `onMerge`: only then do copies in different states have anything to tell each other.
    pub merges: bool,
    /// The publisher whose signature the source carries, if it is right and the configuration trusts the publisher.
    pub publisher: Option<String>,
}

/// Why the library refused. The present version of the name is what it was before.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LibraryError {
    /// The name is not a name.
    #[error("{0:?} is no name for a script: use 1 to 128 letters, digits, '_', '-', '.' or '/'")]
    BadName(String),
    /// The source does not compile or is no script: file, line, column, reason.
    #[error("{0}")]
    BadScript(String),
    /// There is no script of this name.
    #[error("no script {0}; ASO.SCRIPT LIST shows the names")]
    NoScript(String),
    /// Nothing was loaded under the name of a built-in script, which stays.
    #[error("script {0} is built in and cannot be dropped; a version that is loaded takes precedence")]
    BuiltIn(String),
    /// There is no former version to go back to.
    #[error("script {0} has no former version to go back to")]
    NoFormerVersion(String),
    /// The node holds as many names as it may.
    #[error("the node holds {0} named scripts, which is as many as it may; drop one first")]
    TooMany(usize),
    /// The version could not be made durable.
    #[error("the script could not be stored: {0}")]
    Unavailable(String),
}

crate::messages! {
    "library":
    LoadScript -> Result<ScriptHash, LibraryError>;
    ListScripts -> Result<Vec<ScriptSummary>, LibraryError>;
    ShowScript -> Result<ScriptSummary, LibraryError>;
    DropScript -> Result<(), LibraryError>;
    RollbackScript -> Result<ScriptHash, LibraryError>;
    KeepSource -> Result<ScriptHash, LibraryError>;
    Describe -> Result<Option<Description>, LibraryError>;
}
