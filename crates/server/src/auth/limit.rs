//! How often one address may guess: a bucket of tries for each, which fills up again slowly.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tries that may come at once.
const BURST: f64 = 10.0;

/// How long one try takes to come back.
const REFILL: Duration = Duration::from_secs(6);

/// Addresses that are remembered; those beyond push out the ones that waited longest.
const MOST: usize = 4096;

/// Tries by address.
#[derive(Default)]
pub(crate) struct Limit {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn left(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at);
        (self.left + since.as_secs_f64() / REFILL.as_secs_f64()).min(BURST)
    }
}

impl Limit {
    /// Takes one try of the address.
    ///
    /// # Errors
    /// How long to wait for the next one, when there is none left.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let address = whole(address);
        let left = buckets
            .get(&address)
            .map_or(BURST, |bucket| bucket.left(now));
        if left < 1.0 {
            return Err(REFILL.mul_f64(1.0 - left));
        }
        if buckets.len() >= MOST && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| bucket.left(now) < BURST);
            if buckets.len() >= MOST {
                let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
                let oldest = oldest.map(|(address, _)| *address);
                oldest.and_then(|oldest| buckets.remove(&oldest));
            }
        }
        let left = left - 1.0;
        buckets.insert(address, Bucket { left, at: now });
        Ok(())
    }

    /// Gives a try back: it was no guess.
    pub(crate) fn give_back(&self, address: IpAddr) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&whole(address)) {
            bucket.left = (bucket.left + 1.0).min(BURST);
        }
    }
}

/// What one client can have to itself: an IPv4 address, or a network of 64 bits in IPv6.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_slows_down_and_others_do_not() {
        let limit = Limit::default();
        let start = Instant::now();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..10 {
            assert!(limit.take(ip("2001:db8::1"), start).is_ok());
        }
        // Another address of the same network is the same client.
        let wait = limit.take(ip("2001:db8::ffff"), start).unwrap_err();
        assert_eq!(wait, REFILL);
        assert!(limit.take(ip("2001:db8:0:1::1"), start).is_ok());
        assert!(limit.take(ip("192.0.2.1"), start).is_ok());
        let later = start + REFILL;
        assert!(limit.take(ip("2001:db8::1"), later).is_ok());
        assert!(limit.take(ip("2001:db8::1"), later).is_err());
        limit.give_back(ip("2001:db8::1"));
        assert!(limit.take(ip("2001:db8::1"), later).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let limit = Limit::default();
        let start = Instant::now();
        for n in 0..(MOST as u32 + 100) {
            let _ = limit.take(
                IpAddr::V4(n.into()),
                start + Duration::from_micros(n.into()),
            );
        }
        assert_eq!(limit.buckets.lock().unwrap().len(), MOST);
    }
}
