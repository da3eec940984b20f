//! Who asks, and who owns.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The identity of a node: its libp2p peer id, which is its Ed25519 public key in another coat.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The peer id of the node that holds the secret half of this Ed25519 public key.
    ///
    /// libp2p writes it as the base-58 text of an identity multihash over the key's protobuf form:
    /// <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>.
    pub fn from_public_key(public: &[u8; 32]) -> Self {
        const IDENTITY_MULTIHASH: [u8; 2] = [0x00, 0x24];
        const ED25519_PROTOBUF: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
        let mut bytes = Vec::with_capacity(38);
        bytes.extend_from_slice(&IDENTITY_MULTIHASH);
        bytes.extend_from_slice(&ED25519_PROTOBUF);
        bytes.extend_from_slice(public);
        NodeId(bs58::encode(bytes).into_string().into())
    }

    /// The Ed25519 public key that stands in the peer id; none if the text is no peer id of such a key.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        let bytes = bs58::decode(&*self.0).into_vec().ok()?;
        let public = bytes.get(6..)?.try_into().ok()?;
        (NodeId::from_public_key(&public) == *self).then_some(public)
    }

    /// The peer id that is written so, without a check of what it stands for.
    pub fn from_text(text: &str) -> Self {
        NodeId(text.into())
    }

    /// The peer id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeId({self})")
    }
}

/// Who asks: proven by the transport, but for `client`, which is a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The peer id of the asking node, or the authenticated user of a gateway.
    pub id: Arc<str>,
    /// The address that the request came from.
    pub ip: IpAddr,
    /// The port that the request came from.
    pub port: u16,
    /// The address of the gateway's client as the asking node tells it.
    pub client: Arc<str>,
}

impl Caller {
    /// The node itself, for what nobody outside asked for: timers, upgrades, the operator.
    pub fn node(id: &NodeId) -> Self {
        let ip = IpAddr::from([127, 0, 0, 1]);
        Caller { id: id.0.clone(), ip, port: 0, client: "".into() }
    }
}

/// A script's name in the world: SHA-256 of its source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScriptHash([u8; 32]);

impl ScriptHash {
    /// The hash of this source.
    pub fn of(source: &str) -> Self {
        ScriptHash(Sha256::digest(source.as_bytes()).into())
    }

    /// The hash written as 64 hexadecimal digits, if `text` is that.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(ScriptHash(bytes))
    }

    /// The hash of these 32 bytes; none if they are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(ScriptHash)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve digits, enough for people to tell scripts apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ScriptHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ScriptHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ScriptHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_peer_id_looks_like_libp2p_writes_it() {
        assert!(NodeId::from_public_key(&[7; 32]).as_str().starts_with("12D3KooW"));
    }

    #[test]
    fn a_peer_id_gives_back_its_key_and_other_text_gives_none() {
        let id = NodeId::from_public_key(&[7; 32]);
        assert_eq!(id.public_key(), Some([7; 32]));
        for text in [
            "",
            "default",
            "12D3KooW",
            &id.as_str()[1..],
            &format!("{id}1"),
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ] {
            assert_eq!(NodeId::from_text(text).public_key(), None, "{text}");
        }
    }

    #[test]
    fn a_script_hash_parses_what_it_prints() {
        let hash = ScriptHash::of("fn onGet() { 1 }");
        assert_eq!(ScriptHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(ScriptHash::parse("read_counter"), None);
    }
}
