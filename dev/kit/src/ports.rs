//! Free ports on the loopback interface.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Below the range that systems take the ports of outgoing connections from.
/// A port from that range can be lost while its server restarts, even to the
/// very client that tries to reach the server again.
const FIRST: u16 = 15_000;
const LAST: u16 = 30_000;

/// Ports that this process has given away, free or not at the moment.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that is free now and that no other caller in this process is given.
/// Another process may still be faster: whoever starts a server tries again.
pub(crate) fn free() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    for _ in 0..1000 {
        let port = FIRST + u16::from_le_bytes(random()?) % (LAST - FIRST);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {LAST}")
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("cannot read random bytes")?;
    Ok(bytes)
}

/// `2 * N` random hexadecimal digits: tokens and suffixes of names.
pub(crate) fn random_hex<const N: usize>() -> Result<String> {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * N);
    for byte in random::<N>()? {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
