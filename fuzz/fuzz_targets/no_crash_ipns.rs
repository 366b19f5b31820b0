//! Any bytes as an IPNS record and any text as a name; a record that is signed is verified and says
//! the same.
#![no_main]

use std::time::{Duration, SystemTime};

use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use store::ipns::{MAX_RECORD, Name, Record};

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let name = Name::of(&key.verifying_key());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    // Nobody but the key's owner signs with it.
    assert!(Record::verify(&name, data, now).is_err());
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(name) = Name::parse(text) {
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        assert_eq!(Name::parse(&name.to_base58()), Some(name));
    }
    let number = |at: usize| data.get(at).copied().map_or(0, u64::from);
    let record = Record {
        value: text.chars().take(2000).collect(),
        sequence: number(0) << number(1) % 57,
        valid_until: now + Duration::new(number(2) << 23 | 1, number(3) as u32 * 1_000_003),
        ttl: Duration::from_nanos(number(4) << number(5) % 57),
    };
    let signed = record.sign(&key);
    if signed.len() <= MAX_RECORD {
        assert_eq!(Record::verify(&name, &signed, now), Ok(record));
    }
});
