//! Who may log in.

use std::net::IpAddr;
use std::sync::Arc;

use comet_kernel::settings;
use sha2::{Digest, Sha256};

/// The user that clients are who name none, as in Redis.
pub(crate) const NOBODY: &str = "default";

/// The users of the configuration.
#[derive(Debug)]
pub(crate) struct Users(Vec<User>);

#[derive(Debug)]
struct User {
    login: Login,
    digest: [u8; 32],
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// The name.
    pub(crate) name: Arc<str>,
    /// Whether the client may do what changes the node.
    pub(crate) operator: bool,
}

impl Users {
    /// The users of the configuration, which has been checked.
    pub(crate) fn new(users: &[settings::User]) -> Self {
        let user = |user: &settings::User| User {
            login: Login { name: user.name.as_str().into(), operator: user.operator },
            digest: digest(&user.password_sha256).expect("the configuration's digests have been checked"),
        };
        Users(users.iter().map(user).collect())
    }

    /// Whether clients have to log in.
    pub(crate) fn are_configured(&self) -> bool {
        !self.0.is_empty()
    }

    /// Who a client is that has just connected; nobody if it has to log in.
    pub(crate) fn welcome(&self, ip: IpAddr) -> Option<Login> {
        (!self.are_configured()).then(|| Login { name: NOBODY.into(), operator: ip.to_canonical().is_loopback() })
    }

    /// Who a client is that logs in; nobody if name or password is wrong. Takes as long for one as for the other.
    pub(crate) fn check(&self, name: &[u8], password: &[u8], ip: IpAddr) -> Option<Login> {
        if !self.are_configured() {
            return self.welcome(ip).filter(|login| login.name.as_bytes() == name);
        }
        let offered: [u8; 32] = Sha256::digest(password).into();
        let mut found = None;
        for user in &self.0 {
            let differs = user.digest.iter().zip(&offered).fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs));
            if (differs == 0) & (user.login.name.as_bytes() == name) {
                found = Some(user.login.clone());
            }
        }
        found
    }
}

fn digest(hexadecimal: &str) -> Option<[u8; 32]> {
    // A script's hash is written the same way.
    comet_kernel::ScriptHash::parse(hexadecimal).map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn users() -> Users {
        let user = settings::User { name: "ann".to_owned(), password_sha256: SECRET.to_owned(), operator: true };
        Users::new(&[user])
    }

    #[test]
    fn a_user_is_known_by_name_and_password_together() {
        let users = users();
        assert_eq!(users.check(b"ann", b"secret", HERE).map(|login| login.operator), Some(true));
        assert_eq!(users.check(b"ann", b"Secret", HERE), None);
        assert_eq!(users.check(b"bob", b"secret", HERE), None);
        assert_eq!(users.welcome(HERE), None);
    }

    #[test]
    fn without_users_everyone_is_welcome_and_this_machine_is_the_operator() {
        let users = Users::new(&[]);
        let operator = |ip: &str| users.welcome(ip.parse().expect("an address")).expect("welcome").operator;
        assert!(operator("127.0.0.1") && operator("::1") && operator("::ffff:127.0.0.1"));
        assert!(!operator("10.0.0.1"));
    }
}
