//! How much an acknowledged write survives, as the configuration says it.

use serde::{Deserialize, Serialize};

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Durability {
    /// A crash of the node and of the machine.
    Always,
    /// A crash of the node.
    Interval,
    /// Nothing for certain.
    None,
}

/// The error names what is allowed, which the layers of the configuration would not.
impl TryFrom<String> for Durability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "always" => Ok(Durability::Always),
            "interval" => Ok(Durability::Interval),
            "none" => Ok(Durability::None),
            _ => Err(format!("{text:?} is no durability; it must be \"always\", \"interval\" or \"none\"")),
        }
    }
}
