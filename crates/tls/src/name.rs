//! Names and addresses that a certificate is for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::{DnsName, ServerName};
use thiserror::Error;

/// What a device puts after `https://`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A name, in lower case and without a dot at its end.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is neither a host name (letters, digits, hyphens and dots) nor an IP address: give it without \
     https://, port and path"
)]
pub struct NameError {
    text: String,
}

impl Name {
    /// The same name as it is compared, if it is one: its fields can hold anything.
    pub(crate) fn checked(&self) -> Result<Self, NameError> {
        match self {
            Self::Dns(text) => text.parse(),
            Self::Ip(address) => Ok(Self::Ip(address.to_canonical())),
        }
    }

    /// For the library of TLS.
    pub(crate) fn to_server_name(&self) -> Result<ServerName<'static>, NameError> {
        match self {
            Self::Dns(text) => dns_name(text).map(ServerName::DnsName),
            Self::Ip(address) => Ok(ServerName::from(*address)),
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(address.to_canonical()));
        }
        let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        dns_name(&lower)?;
        Ok(Self::Dns(lower))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

fn dns_name(text: &str) -> Result<DnsName<'static>, NameError> {
    let error = || NameError {
        text: text.chars().take(80).collect(),
    };
    // Browsers refuse underscores in certificates, which the library takes; a last label of digits alone
    // is an address to them.
    let last = text.rsplit('.').next().unwrap_or_default();
    if text.contains('_') || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error());
    }
    DnsName::try_from(text.to_owned()).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(name("Box.Local."), Name::Dns("box.local".to_owned()));
        assert_eq!(name("192.168.1.2").to_string(), "192.168.1.2");
        assert_eq!(name("[::1]"), name("::1"));
        assert_eq!(name("::ffff:10.0.0.1"), name("10.0.0.1"));
        assert_eq!(name("10-0-0-1.lan"), Name::Dns("10-0-0-1.lan".to_owned()));
    }

    #[test]
    fn what_is_no_name_is_told_with_what_to_give() {
        let long = "a".repeat(300);
        for text in [
            "",
            ".",
            "a b",
            "https://box.local",
            "box:8080",
            "*.local",
            "a_b.local",
            "1.2.3",
            "192.168.1.256",
            "-",
            "box..local",
            "chaton\u{e9}",
            "[::1",
            "fe80::1%eth0",
            &long,
        ] {
            let error = text.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains("neither a host name"), "{error}");
            assert!(error.len() < 300);
        }
    }
}
