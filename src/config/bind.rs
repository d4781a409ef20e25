//! Where to listen, as the flags of Kubernetes components spell it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A listening address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// `0`: not served.
    Disabled,
    /// `:PORT`: every address of the machine, of both families.
    AnyAddress(u16),
    /// `IP:PORT`.
    Address(SocketAddr),
}

/// Why a text is not a listening address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address to listen on: write :PORT, IP:PORT such as 127.0.0.1:8080 or [::1]:8080, or 0 for none")]
pub struct BindAddressError;

impl FromStr for BindAddress {
    type Err = BindAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::Disabled);
        }
        if let Some(port) = text.strip_prefix(':') {
            // `u16` would take a sign.
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            return digits.then(|| port.parse().ok()).flatten().map(Self::AnyAddress).ok_or(BindAddressError);
        }
        text.parse().map(Self::Address).map_err(|_| BindAddressError)
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("0"),
            Self::AnyAddress(port) => write!(f, ":{port}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, expected) in [
            ("0", BindAddress::Disabled),
            (":8080", BindAddress::AnyAddress(8080)),
            (":0", BindAddress::AnyAddress(0)),
            ("127.0.0.1:8081", BindAddress::Address("127.0.0.1:8081".parse().unwrap())),
            ("[::1]:8081", BindAddress::Address("[::1]:8081".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for text in ["", ":", ":x", ":+80", ":65536", "8080", "localhost:8080", "127.0.0.1", "1.2.3.4:"] {
            assert_eq!(text.parse::<BindAddress>(), Err(BindAddressError), "{text}");
        }
    }
}
