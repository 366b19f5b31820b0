//! Secrets: tokens, sessions and device codes. 256 random bits each, so a plain hash of one is as
//! good as a slow one, and nobody finds one by trying.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest, Sha256};

/// What tokens begin with, so that people and programs that look for leaked secrets know one.
const TOKEN: &str = "kinora_";

/// The alphabet of base64url (RFC 4648, section 5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a person types: no vowels, so no words, and nothing that looks like something else
/// (RFC 8628, section 6.1). Eight of them are 2^34 codes.
const TYPED: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const TYPED_LENGTH: usize = 8;

/// A new token's secret, shown once.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_token() -> io::Result<String> {
    Ok(format!("{TOKEN}{}", new_secret()?))
}

/// A new secret for a program to remember.
pub(crate) fn new_secret() -> io::Result<String> {
    let random = random::<32>()?;
    // 256 bits are 42 times six, and four more.
    let mut text = String::with_capacity(43);
    for triple in random.chunks(3) {
        let bits = triple
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - triple.len()));
        for place in 0..=triple.len() {
            let index = bits >> (18 - 6 * place) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    Ok(text)
}

/// What is kept of a secret.
pub fn hash(secret: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(secret.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// A code that a screen shows and a person types.
pub(crate) fn new_code() -> io::Result<String> {
    let mut code = String::with_capacity(TYPED_LENGTH);
    while code.len() < TYPED_LENGTH {
        // 240 is the largest multiple of 20 below 256: beyond it some letters would come more often.
        let usable = random::<16>()?.into_iter().filter(|byte| *byte < 240);
        for byte in usable.take(TYPED_LENGTH - code.len()) {
            code.push(char::from(TYPED[usize::from(byte % 20)]));
        }
    }
    Ok(code)
}

/// What a person typed, as [`new_code`] wrote it: in any case, with dashes and spaces anywhere.
/// `None` when it cannot be a code.
pub(crate) fn typed(text: &str) -> Option<String> {
    let code: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let fits = code.len() == TYPED_LENGTH && code.bytes().all(|byte| TYPED.contains(&byte));
    fits.then_some(code)
}

/// `BCDF-GHJK`.
pub(crate) fn shown(code: &str) -> String {
    match code.split_at_checked(TYPED_LENGTH / 2) {
        Some((first, second)) => format!("{first}-{second}"),
        None => code.to_owned(),
    }
}

/// A new identifier of a token, which is no secret.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_id() -> io::Result<String> {
    let random = random::<8>()?;
    Ok(random
        .iter()
        .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)]))
        .collect())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut random = [0u8; N];
    // Requests of up to 256 bytes are filled whole or not at all (getrandom(2)).
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_256_bits_and_never_the_same() {
        let many: std::collections::HashSet<String> =
            (0..1000).map(|_| new_token().unwrap()).collect();
        assert_eq!(many.len(), 1000);
        for token in many {
            let secret = token.strip_prefix("kinora_").unwrap();
            assert_eq!(secret.len(), 43);
            assert!(secret.bytes().all(|byte| ALPHABET.contains(&byte)));
        }
    }

    #[test]
    fn a_hash_is_sha256_in_hex() {
        // FIPS 180-4, the example of one block.
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn codes_as_people_type_them() {
        let code = new_code().unwrap();
        assert_eq!(typed(&code).as_deref(), Some(code.as_str()));
        assert_eq!(typed(&shown(&code)).as_deref(), Some(code.as_str()));
        for (text, code) in [
            ("BCDF-GHJK", Some("BCDFGHJK")),
            (" bcdf ghjk ", Some("BCDFGHJK")),
            ("bcdf–ghjk", Some("BCDFGHJK")),
            ("BCDFGHJ", None),
            ("BCDFGHJKL", None),
            ("ABCDEFGH", None),
            ("", None),
            ("BCDFGHJß", None),
        ] {
            assert_eq!(typed(text).as_deref(), code, "{text:?}");
        }
    }
}
