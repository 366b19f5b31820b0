//! IPNS (specs.ipfs.tech, "IPNS Record and Protocol"): names that are public keys, and records that
//! say what a name stands for, signed with the key. Anybody can check a record, so a name can be
//! resolved through somebody who need not be trusted.
//!
//! Ed25519 keys are understood, which is what names have today; names of other keys can be read and
//! written, and their records not checked.
//!
//! Records come from strangers: [`Record::verify`] is the one way in.

mod time;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use cid::multibase::{self, Base};
use cid::multihash::Multihash;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::{
    cbor::{self, Item},
    dag::AnyCid,
    protobuf::{self, Value},
    unixfs::{IDENTITY, SHA2_256},
};

/// Multicodec `libp2p-key`.
pub const LIBP2P_KEY: u64 = 0x72;

/// The largest record there may be, in bytes.
pub const MAX_RECORD: usize = 10 << 10;

/// `KeyType.Ed25519`.
const ED25519: u64 = 1;

/// What stands before the signed bytes.
const SIGNED: &[u8] = b"ipns-signature:";

/// An IPNS name, that is the multihash of a public key. Peer IDs are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(Multihash<128>);

impl Name {
    /// The name of a key.
    pub fn of(key: &VerifyingKey) -> Self {
        let mut message = Vec::with_capacity(36);
        protobuf::put_number(&mut message, 1, ED25519);
        protobuf::put_bytes(&mut message, 2, key.as_bytes());
        Self(Multihash::wrap(IDENTITY, &message).expect("36 bytes fit a multihash of 128"))
    }

    /// Reads a name as CID of a key, in any base, or as a bare multihash in base58, the older form.
    pub fn parse(text: &str) -> Option<Self> {
        if Self::is_bare(text) {
            let bytes = Base::Base58Btc.decode(text).ok()?;
            return Self::of_hash(Multihash::from_bytes(&bytes).ok()?);
        }
        // The parser would accept text in front of an inner `/ipns/`.
        if text.contains('/') {
            return None;
        }
        let cid = AnyCid::try_from(text).ok()?;
        (cid.codec() == LIBP2P_KEY).then_some(())?;
        Self::of_hash(*cid.hash())
    }

    /// A key is named by itself, or by its SHA-256 when it is long (libp2p, "Peer IDs").
    fn of_hash(hash: Multihash<128>) -> Option<Self> {
        let names_key = match hash.code() {
            IDENTITY => (1..=42).contains(&hash.size()),
            SHA2_256 => hash.size() == 32,
            _ => false,
        };
        names_key.then_some(Self(hash))
    }

    /// Whether the text has the older form.
    pub fn is_bare(text: &str) -> bool {
        text.starts_with('1') || (text.starts_with("Qm") && text.len() == 46)
    }

    /// The older form, in which peer IDs are mostly written.
    pub fn to_base58(self) -> String {
        Base::Base58Btc.encode(self.to_bytes())
    }

    /// The multihash as bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The public key, where the name carries it and it is of a kind that is understood.
    pub fn key(&self) -> Option<VerifyingKey> {
        (self.0.code() == IDENTITY)
            .then(|| public_key(self.0.digest()))
            .flatten()
    }
}

/// CIDv1 in base36, which is the form that fits a host name.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cid = AnyCid::new_v1(LIBP2P_KEY, self.0);
        f.write_str(&multibase::encode(Base::Base36Lower, cid.to_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Reads `PublicKey` of the specification.
fn public_key(message: &[u8]) -> Option<VerifyingKey> {
    let (mut kind, mut data) = (None, None);
    for field in protobuf::fields(message) {
        match field.ok()? {
            (1, Value::Varint(value)) => kind = Some(value),
            (2, Value::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
    }
    let bytes = data.filter(|_| kind == Some(ED25519))?;
    VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()
}

/// Why a record says nothing about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It is larger than [`MAX_RECORD`].
    #[error("it has more than 10 KiB")]
    Large,
    /// It is no record.
    #[error("it is not an IPNS record")]
    Malformed,
    /// It has no signature of the second version, and the first protects too little.
    #[error("it has no V2 signature")]
    Unsigned,
    /// The name is of a key that is not understood.
    #[error("its key is not an Ed25519 key")]
    Key,
    /// The signature is not the key's.
    #[error("its V2 signature is wrong")]
    Signature,
    /// What the first version repeats differs from what was signed.
    #[error("what it says unsigned differs from what is signed")]
    Mismatch,
    /// It was valid once.
    #[error("it has expired")]
    Expired,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The content path, as `/ipfs/<cid>`.
    pub value: String,
    /// Rises with each change.
    pub sequence: u64,
    /// When the record ends.
    pub valid_until: SystemTime,
    /// How long it may be believed without asking again.
    pub ttl: Duration,
}

/// `IpnsEntry` of the specification.
#[derive(Default)]
struct Entry<'a> {
    value: Option<&'a [u8]>,
    signature_v1: Option<&'a [u8]>,
    validity_type: Option<u64>,
    validity: Option<&'a [u8]>,
    sequence: Option<u64>,
    ttl: Option<u64>,
    public_key: Option<&'a [u8]>,
    signature_v2: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

/// The signed document.
#[derive(Default)]
struct Document<'a> {
    value: &'a [u8],
    validity_type: u64,
    validity: &'a [u8],
    sequence: u64,
    ttl: u64,
}

impl Record {
    /// Reads a record and checks, in the specification's order, that the owner of the name made it
    /// and that it has not ended.
    pub fn verify(name: &Name, record: &[u8], now: SystemTime) -> Result<Self, Invalid> {
        if record.len() > MAX_RECORD {
            return Err(Invalid::Large);
        }
        let entry = Entry::decode(record).ok_or(Invalid::Malformed)?;
        let (Some(signature), Some(data)) = (entry.signature_v2, entry.data) else {
            return Err(Invalid::Unsigned);
        };
        let key = entry.key(name).ok_or(Invalid::Key)?;
        let document = Document::decode(data).ok_or(Invalid::Malformed)?;
        let signature = Signature::from_slice(signature).map_err(|_| Invalid::Signature)?;
        key.verify_strict(&[SIGNED, data].concat(), &signature)
            .map_err(|_| Invalid::Signature)?;
        if !entry.repeats(&document) {
            return Err(Invalid::Mismatch);
        }
        let record = document.record().ok_or(Invalid::Malformed)?;
        if record.valid_until <= now {
            return Err(Invalid::Expired);
        }
        Ok(record)
    }

    /// Signs what the record says, in both versions: old readers know only the first.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let validity = time::format(self.valid_until);
        let ttl = u64::try_from(self.ttl.as_nanos()).unwrap_or(u64::MAX);
        let mut data = Vec::new();
        // DAG-CBOR sorts keys by length, then by bytes.
        cbor::put_map(&mut data, 5);
        cbor::put_text(&mut data, "TTL");
        cbor::put_uint(&mut data, ttl);
        cbor::put_text(&mut data, "Value");
        cbor::put_bytes(&mut data, self.value.as_bytes());
        cbor::put_text(&mut data, "Sequence");
        cbor::put_uint(&mut data, self.sequence);
        cbor::put_text(&mut data, "Validity");
        cbor::put_bytes(&mut data, validity.as_bytes());
        cbor::put_text(&mut data, "ValidityType");
        cbor::put_uint(&mut data, 0);
        // The first version's word for the validity type is in letters.
        let first = key.sign(&[self.value.as_bytes(), validity.as_bytes(), b"EOL"].concat());
        let second = key.sign(&[SIGNED, &data].concat());
        let mut out = Vec::new();
        protobuf::put_bytes(&mut out, 1, self.value.as_bytes());
        protobuf::put_bytes(&mut out, 2, &first.to_bytes());
        protobuf::put_number(&mut out, 3, 0);
        protobuf::put_bytes(&mut out, 4, validity.as_bytes());
        protobuf::put_number(&mut out, 5, self.sequence);
        protobuf::put_number(&mut out, 6, ttl);
        protobuf::put_bytes(&mut out, 8, &second.to_bytes());
        protobuf::put_bytes(&mut out, 9, &data);
        out
    }
}

impl<'a> Entry<'a> {
    fn decode(record: &'a [u8]) -> Option<Self> {
        let mut entry = Self::default();
        for field in protobuf::fields(record) {
            match field.ok()? {
                (1, Value::Bytes(bytes)) => entry.value = Some(bytes),
                (2, Value::Bytes(bytes)) => entry.signature_v1 = Some(bytes),
                (3, Value::Varint(number)) => entry.validity_type = Some(number),
                (4, Value::Bytes(bytes)) => entry.validity = Some(bytes),
                (5, Value::Varint(number)) => entry.sequence = Some(number),
                (6, Value::Varint(number)) => entry.ttl = Some(number),
                (7, Value::Bytes(bytes)) => entry.public_key = Some(bytes),
                (8, Value::Bytes(bytes)) => entry.signature_v2 = Some(bytes),
                (9, Value::Bytes(bytes)) => entry.data = Some(bytes),
                _ => {}
            }
        }
        Some(entry)
    }

    /// The key that the name carries; one in the record must be that of the name.
    fn key(&self, name: &Name) -> Option<VerifyingKey> {
        let Some(message) = self.public_key else {
            return name.key();
        };
        public_key(message).filter(|key| Name::of(key) == *name)
    }

    /// Whether what the first version says, if it says anything, is what was signed.
    fn repeats(&self, document: &Document<'_>) -> bool {
        if self.signature_v1.is_none() && self.value.is_none() {
            return true;
        }
        self.value == Some(document.value)
            && self.validity == Some(document.validity)
            && self.validity_type.unwrap_or_default() == document.validity_type
            && self.sequence.unwrap_or_default() == document.sequence
            && self.ttl.unwrap_or_default() == document.ttl
    }
}

impl<'a> Document<'a> {
    fn decode(data: &'a [u8]) -> Option<Self> {
        let mut reader = cbor::Reader::new(data);
        let mut document = Self::default();
        let mut found = 0;
        let Ok(Item::Map(pairs)) = reader.item() else {
            return None;
        };
        for _ in 0..pairs {
            let Ok(Item::Text(key)) = reader.item() else {
                return None;
            };
            let mut value = reader.clone();
            found += 1;
            match (key, value.item().ok()?) {
                ("Value", Item::Bytes(bytes)) => document.value = bytes,
                ("Validity", Item::Bytes(bytes)) => document.validity = bytes,
                ("ValidityType", Item::Uint(number)) => document.validity_type = number,
                ("Sequence", Item::Uint(number)) => document.sequence = number,
                ("TTL", Item::Uint(number)) => document.ttl = number,
                ("Value" | "Validity" | "ValidityType" | "Sequence" | "TTL", _) => return None,
                // Records may say more.
                _ => found -= 1,
            }
            reader.skip().ok()?;
        }
        (found == 5 && reader.is_at_end()).then_some(document)
    }

    fn record(&self) -> Option<Record> {
        // The only kind of validity there is: an end.
        if self.validity_type != 0 {
            return None;
        }
        Some(Record {
            value: std::str::from_utf8(self.value).ok()?.to_owned(),
            sequence: self.sequence,
            valid_until: time::parse(std::str::from_utf8(self.validity).ok()?)?,
            ttl: Duration::from_nanos(self.ttl),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            value: "/ipfs/bafkqaaa".into(),
            sequence: 7,
            valid_until: SystemTime::UNIX_EPOCH + Duration::new(4_000_000_000, 5),
            ttl: Duration::from_secs(2),
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
    }

    #[test]
    fn names_in_all_their_forms() {
        let rows = [
            (
                "12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK",
                Some("k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8"),
            ),
            (
                "QmcJM7PRfkSbcM5cf1QugM5R37TLRKyJGgBEhXjLTB8uA2",
                Some("k2k4r8ol4m8kkcqz509c1rcjwunebj02gcnm5excpx842u736nja8ger"),
            ),
            (
                "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8",
                Some("k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8"),
            ),
            ("bafkqaaa", None),
            ("en.wikipedia-on-ipfs.org", None),
            (
                "x/ipns/12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK",
                None,
            ),
            ("1", None),
            ("", None),
            // Names no key: an unknown function, a digest of 5 bytes.
            ("k5mtk402oiv6kl", None),
            ("\0\u{1}rz\u{5}\u{5}\u{5}\u{5}\u{5}\u{5}", None),
        ];
        for (text, expected) in rows {
            let name = Name::parse(text).map(|name| name.to_string());
            assert_eq!(name.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_signed_is_verified() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let name = Name::of(&key.verifying_key());
        assert_eq!(name.key(), Some(key.verifying_key()));
        let signed = record().sign(&key);
        assert_eq!(Record::verify(&name, &signed, now()), Ok(record()));
        let other = Name::of(&SigningKey::from_bytes(&[8; 32]).verifying_key());
        let rsa = Name::parse("QmcJM7PRfkSbcM5cf1QugM5R37TLRKyJGgBEhXjLTB8uA2").unwrap();
        let with = |field, bytes: &[u8]| {
            let mut longer = signed.clone();
            protobuf::put_bytes(&mut longer, field, bytes);
            longer
        };
        let mut foreign_key = Vec::new();
        protobuf::put_number(&mut foreign_key, 1, ED25519);
        protobuf::put_bytes(&mut foreign_key, 2, other.key().unwrap().as_bytes());
        let end = record().valid_until;
        let rows: [(Name, Vec<u8>, SystemTime, Invalid); 10] = [
            (other, signed.clone(), now(), Invalid::Signature),
            (rsa, signed.clone(), now(), Invalid::Key),
            (name, signed.clone(), end, Invalid::Expired),
            (name, Vec::new(), now(), Invalid::Unsigned),
            (name, b"hello".to_vec(), now(), Invalid::Malformed),
            (name, vec![0; MAX_RECORD + 1], now(), Invalid::Large),
            // The last of a field counts.
            (name, with(1, b"/ipfs/bafkqabq"), now(), Invalid::Mismatch),
            (name, with(8, &[0; 64]), now(), Invalid::Signature),
            (name, with(8, &[0; 63]), now(), Invalid::Signature),
            (name, with(7, &foreign_key), now(), Invalid::Key),
        ];
        for (name, record, now, expected) in rows {
            assert_eq!(Record::verify(&name, &record, now), Err(expected));
        }
        // No bit of it can be turned without notice, but in the first signature, which nobody
        // checks any more, and in what protobuf leaves open.
        let first = 2 + record().value.len() + 2;
        for at in 0..signed.len() {
            let mut turned = signed.clone();
            turned[at] ^= 1;
            let read = Record::verify(&name, &turned, now());
            let unchecked = (first..first + 64).contains(&at);
            assert!(unchecked || read.is_err() || read == Ok(record()), "{at}");
        }
    }
}
