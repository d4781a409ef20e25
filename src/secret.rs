//! Secret bytes in memory, and the keyed digest that lets status say "the same value" without saying the value.
//!
//! Nothing here prints, serializes or compares bytes in a way that tells them. What is wiped is what is ours: copies in
//! TLS buffers, in the HTTP library and in the allocator's freed pages stay beyond our reach.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::domain::place::Place;

/// Bytes of a secret: cheap to clone, wiped when the last clone goes, compared in constant time.
#[derive(Clone)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads base64 as RFC 4648 §4 has it, strictly: padded, canonical, nothing between the letters.
    pub fn decode(base64: &[u8]) -> Result<Self, NotBase64> {
        STANDARD.decode(base64).map(Self::from).map_err(|_| NotBase64)
    }

    /// Base64 as RFC 4648 §4 has it.
    pub fn encode(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.as_slice()))
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice().ct_eq(other.as_slice()).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// The text is not strict base64. Where it goes wrong is not said: that would tell of the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not base64")]
pub struct NotBase64;

/// Text of a credential, with the manners of [`SecretBytes`].
#[derive(Clone)]
pub struct SecretText(Arc<Zeroizing<String>>);

impl SecretText {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// The scheme that digests are made by: `v1.<key id>.<HMAC-SHA-256, base64url>`.
const SCHEME: &str = "v1";
/// Length of a digest key, in bytes.
const KEY_LENGTH: usize = 32;
/// Block length of SHA-256, in bytes.
const BLOCK_LENGTH: usize = 64;
/// The data key that names the current digest key.
const CURRENT: &str = "current";
/// What the data keys of digest keys begin with.
const KEY_PREFIX: &str = "key-";
/// A longer key id is refused.
const LONGEST_ID: usize = 32;

/// A key that digests are made with, and the id that digests name it by.
#[derive(Clone)]
pub struct DigestKey {
    id: String,
    /// One block, the key padded with zeros as HMAC would do, so that no length can be wrong later.
    block: Arc<Zeroizing<[u8; BLOCK_LENGTH]>>,
}

impl DigestKey {
    /// A key of exactly 32 bytes, with an id of letters, digits and hyphens.
    pub fn new(id: &str, bytes: &[u8]) -> Result<Self, KeyringError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(word) {
            return Err(KeyringError::Id);
        }
        if bytes.len() != KEY_LENGTH {
            return Err(KeyringError::Length { id: id.to_owned(), length: bytes.len() });
        }
        let mut block = Zeroizing::new([0; BLOCK_LENGTH]);
        block[..KEY_LENGTH].copy_from_slice(bytes);
        Ok(Self { id: id.to_owned(), block: Arc::new(block) })
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new((&**self.block).into())
    }

    /// Every field of the place goes in behind its length, so that no two places can look alike; the value is last.
    fn mac_of(&self, place: &Place, bytes: &SecretBytes) -> Hmac<Sha256> {
        let mut mac = self.mac();
        for field in [&place.url, &place.organization_id, &place.secret_id] {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac.chain_update(bytes.as_slice())
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DigestKey").field(&self.id).finish()
    }
}

/// The keys of digests: one to make them with, and those that were used before.
#[derive(Clone, Debug)]
pub struct Keyring {
    current: DigestKey,
    older: Vec<DigestKey>,
}

/// How bytes compare with a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The digest is of these bytes in this place.
    Equal,
    /// It is of others.
    Different,
    /// It was made by a scheme or with a key that is not known: neither equal nor different.
    Unknown,
}

impl Keyring {
    /// Reads the data of the operator's Secret: `key-<id>` with 32 bytes each, and `current` with an id.
    pub fn from_secret_data(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, KeyringError> {
        let current = data.get(CURRENT).ok_or(KeyringError::NoCurrent)?;
        let current = str::from_utf8(current).map_err(|_| KeyringError::NoCurrent)?;
        let mut keys = Vec::new();
        for (name, bytes) in data {
            if let Some(id) = name.strip_prefix(KEY_PREFIX) {
                keys.push(DigestKey::new(id, bytes)?);
            }
        }
        let at = keys.iter().position(|key| key.id == current).ok_or(KeyringError::CurrentMissing)?;
        Ok(Self { current: keys.swap_remove(at), older: keys })
    }

    /// The data of a new Secret, from 32 random bytes. The key's id follows from the key, so that no two keys share one.
    pub fn generate(random: [u8; KEY_LENGTH]) -> BTreeMap<String, Vec<u8>> {
        let random = Zeroizing::new(random);
        let mut block = Zeroizing::new([0; BLOCK_LENGTH]);
        block[..KEY_LENGTH].copy_from_slice(&*random);
        let name = Hmac::<Sha256>::new((&*block).into()).chain_update("key id").finalize().into_bytes();
        let id = format!("{:08x}", u32::from_be_bytes([name[0], name[1], name[2], name[3]]));
        BTreeMap::from([(format!("{KEY_PREFIX}{id}"), random.to_vec()), (CURRENT.to_owned(), id.into_bytes())])
    }

    /// The digest of a value in a place, under the current key.
    pub fn digest(&self, place: &Place, bytes: &SecretBytes) -> String {
        let mac = self.current.mac_of(place, bytes).finalize().into_bytes();
        format!("{SCHEME}.{}.{}", self.current.id, URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether a digest is of these bytes in this place.
    pub fn compare(&self, digest: &str, place: &Place, bytes: &SecretBytes) -> Comparison {
        let mut parts = digest.split('.');
        let (Some(SCHEME), Some(id), Some(mac), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Comparison::Unknown;
        };
        let Some(key) = std::iter::once(&self.current).chain(&self.older).find(|key| key.id == id) else {
            return Comparison::Unknown;
        };
        match URL_SAFE_NO_PAD.decode(mac) {
            Ok(mac) if mac.len() == KEY_LENGTH => match key.mac_of(place, bytes).verify_slice(&mac) {
                Ok(()) => Comparison::Equal,
                Err(_) => Comparison::Different,
            },
            _ => Comparison::Unknown,
        }
    }
}

/// Why the data of a Secret is no keyring.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyringError {
    /// `current` is missing, or is not text.
    #[error("the data key `current` is missing or is not text")]
    NoCurrent,
    /// The key that `current` names is missing.
    #[error("the key that `current` names is missing")]
    CurrentMissing,
    /// A key's id is unusable.
    #[error("a digest key's id must be 1 to {LONGEST_ID} letters, digits and hyphens")]
    Id,
    /// A key has the wrong length.
    #[error("the digest key `{id}` has {length} bytes, and must have {KEY_LENGTH}")]
    Length {
        /// The key's id.
        id: String,
        /// Its length.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, organization_id: &str, secret_id: &str) -> Place {
        Place { url: url.into(), organization_id: organization_id.into(), secret_id: secret_id.into() }
    }

    fn here() -> Place {
        place("https://api.abeja.io", "1410000000000", "3053595942757")
    }

    fn value() -> SecretBytes {
        SecretBytes::from(vec![0x00, 0xff, 0x0a])
    }

    fn ring(current: &str, keys: &[(&str, u8)]) -> Keyring {
        let mut data: BTreeMap<_, _> =
            keys.iter().map(|(id, byte)| (format!("key-{id}"), vec![*byte; KEY_LENGTH])).collect();
        data.insert("current".into(), current.into());
        Keyring::from_secret_data(&data).unwrap()
    }

    /// Computed apart from this code, with Python's `hmac`:
    /// `hmac.new(bytes(range(32)), b"".join(struct.pack(">Q", len(f)) + f for f in fields) + b"\x00\xff\x0a", "sha256")`
    #[test]
    fn digest_is_pinned_by_a_test_vector() {
        let key: Vec<u8> = (0..32).collect();
        let data = BTreeMap::from([("key-a1".to_owned(), key), ("current".to_owned(), b"a1".to_vec())]);
        let ring = Keyring::from_secret_data(&data).unwrap();
        assert_eq!(ring.digest(&here(), &value()), "v1.a1.laWK57KDeguqHbekEh319MgoYZ5vWEg4ScAz_uqCwAA");
    }

    #[test]
    fn digest_depends_on_every_field_and_on_where_fields_end() {
        let ring = ring("a", &[("a", 1)]);
        let digest = ring.digest(&here(), &value());
        let others = [
            place("https://api.abeja.i", "o1410000000000", "3053595942757"),
            place("https://api.abeja.io", "14100000000003", "053595942757"),
            place("https://other.example", "1410000000000", "3053595942757"),
            place("https://api.abeja.io", "2", "3053595942757"),
            place("https://api.abeja.io", "1410000000000", "3"),
        ];
        for other in others {
            assert_eq!(ring.compare(&digest, &other, &value()), Comparison::Different, "{other}");
        }
        assert_eq!(ring.compare(&digest, &here(), &SecretBytes::from(vec![0])), Comparison::Different);
        assert_eq!(ring.compare(&digest, &here(), &value()), Comparison::Equal);
    }

    #[test]
    fn older_keys_are_read_and_unknown_ones_tell_nothing() {
        let before = ring("a", &[("a", 1)]);
        let after = ring("b", &[("a", 1), ("b", 2)]);
        let lost = ring("b", &[("b", 2)]);
        let digest = before.digest(&here(), &value());
        assert_eq!(after.compare(&digest, &here(), &value()), Comparison::Equal);
        assert_eq!(lost.compare(&digest, &here(), &value()), Comparison::Unknown);
        assert!(after.digest(&here(), &value()).starts_with("v1.b."));
        let mac = digest.rsplit('.').next().unwrap();
        let short = &mac[..mac.len() - 2];
        for text in [
            "",
            "v1",
            "v1.a",
            "v1.a.",
            "v1.a.!",
            &format!("v1.a.{short}"),
            &format!("v2.a.{mac}"),
            &format!("{digest}.x"),
        ] {
            assert_eq!(before.compare(text, &here(), &value()), Comparison::Unknown, "{text}");
        }
    }

    #[test]
    fn secret_data_that_is_no_keyring_is_refused() {
        let read = |pairs: &[(&str, &[u8])]| {
            let data = pairs.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
            Keyring::from_secret_data(&data).map(|_| ())
        };
        let key = [7; KEY_LENGTH];
        assert_eq!(read(&[("current", b"a"), ("key-a", &key), ("note", b"ignored")]), Ok(()));
        assert_eq!(read(&[("key-a", &key)]), Err(KeyringError::NoCurrent));
        assert_eq!(read(&[("current", b"\xff"), ("key-a", &key)]), Err(KeyringError::NoCurrent));
        assert_eq!(read(&[("current", b"b"), ("key-a", &key)]), Err(KeyringError::CurrentMissing));
        assert_eq!(read(&[("current", b"a.b"), ("key-a.b", &key)]), Err(KeyringError::Id));
        assert_eq!(read(&[("current", b"a"), ("key-a", &key), ("key-", &key)]), Err(KeyringError::Id));
        let short = KeyringError::Length { id: "a".into(), length: 31 };
        assert_eq!(read(&[("current", b"a"), ("key-a", &key[..31])]), Err(short));
    }

    #[test]
    fn generated_keys_are_read_back_and_have_ids_of_their_own() {
        let one = Keyring::generate([1; KEY_LENGTH]);
        let two = Keyring::generate([2; KEY_LENGTH]);
        let ring = Keyring::from_secret_data(&one).unwrap();
        let digest = ring.digest(&here(), &value());
        assert_eq!(ring.compare(&digest, &here(), &value()), Comparison::Equal);
        let other = Keyring::from_secret_data(&two).unwrap();
        assert_eq!(other.compare(&digest, &here(), &value()), Comparison::Unknown);
    }

    #[test]
    fn base64_is_strict() {
        for (text, bytes) in [("", &b""[..]), ("AP8K", b"\x00\xff\x0a"), ("YQ==", b"a"), ("+/+/", b"\xfb\xff\xbf")] {
            let decoded = SecretBytes::decode(text.as_bytes()).unwrap();
            assert_eq!(decoded.as_slice(), bytes);
            assert_eq!(*decoded.encode(), text);
        }
        for text in ["YQ", "YQ=", "YR==", "YQ==\n", "Y Q==", "-_-_", "YQ==YQ==", "=", "é"] {
            assert_eq!(SecretBytes::decode(text.as_bytes()), Err(NotBase64), "{text:?}");
        }
    }

    #[test]
    fn nothing_prints_what_it_holds() {
        let bytes = SecretBytes::from(b"canary".to_vec());
        let text = SecretText::from("canary".to_owned());
        let ring = ring("a", &[("a", 99)]);
        let printed = format!("{bytes:?} {text:?} {ring:?} {bytes:#?} {text:#?} {ring:#?}");
        assert!(!printed.contains("canary"), "{printed}");
        assert!(!printed.contains("99"), "{printed}");
    }

    #[test]
    fn equal_is_equal_bytes() {
        assert_eq!(value(), value().clone());
        assert_ne!(value(), SecretBytes::from(vec![0x00, 0xff]));
        assert_ne!(SecretText::from("a".to_owned()), SecretText::from("b".to_owned()));
    }
}
