//! Word of a stream to a receiver elsewhere: one POST for each update, in order, signed.
//!
//! The stream never waits: updates go into a bounded queue, and a thread of its own delivers them. A
//! receiver that is slow or away is tried again, each time after twice as long; when the queue is
//! full the oldest go, and the next delivery says how many are missing. The body is JSON; with a
//! secret, `X-Kinora-Signature` carries its HMAC-SHA256 (RFC 2104) as `sha256=` and hex digits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use ladder::publish::Update;
use serde::Serialize;
use sha2::Sha256;

/// Updates that wait at most: a few minutes of a stream with many renditions.
const QUEUE: usize = 1024;
/// How long a receiver may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The first and the longest pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What is older than this is not tried again: nobody wants to hear it any more.
const STALE: Duration = Duration::from_secs(600);

/// Where updates are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An `http` or `https` address.
    pub url: String,
    /// What the receiver knows too, to tell that a message is ours.
    pub secret: Option<String>,
}

/// A receiver and what it is still to be told. Dropping it forgets what was not delivered.
#[derive(Debug)]
pub struct Webhook {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Told so far: the number of the next.
    told: u64,
    /// Dropped since the last delivery.
    missed: u64,
    /// One is being delivered.
    busy: bool,
    stopping: bool,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    stream: String,
    update: Update,
    time_ms: u64,
    since: Instant,
}

/// The body of a delivery.
#[derive(Serialize)]
struct Message<'a> {
    /// Rises by one with each update told to this receiver since the sender started.
    number: u64,
    /// Updates before this one that could not be delivered and are not tried again.
    missed: u64,
    /// Milliseconds since 1970.
    time_ms: u64,
    stream: &'a str,
    #[serde(flatten)]
    update: &'a Update,
}

/// How a try ended.
enum Outcome {
    Delivered,
    /// It may work later.
    Away(String),
    /// The receiver does not want it.
    Refused(String),
}

impl Webhook {
    /// Starts delivering to `target`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(target: Target) -> std::io::Result<Webhook> {
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let delivering = Arc::clone(&shared);
        thread::Builder::new()
            .name("kinora-webhook".to_owned())
            .spawn(move || deliver(&delivering))?;
        Ok(Webhook { shared })
    }

    /// Notes an update of a stream for delivery. Never waits.
    pub fn tell(&self, stream: &str, update: &Update) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut state = self.shared.lock();
        if state.waiting.len() == QUEUE {
            state.waiting.pop_front();
            state.missed += 1;
        }
        let number = state.told;
        state.told += 1;
        state.waiting.push_back(Waiting {
            number,
            stream: stream.to_owned(),
            update: update.clone(),
            time_ms: time.map_or(0, |time| time.as_millis() as u64),
            since: Instant::now(),
        });
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is delivered or given up, for `limit` at most. Whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.shared.lock();
        while state.busy || !state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.wait(state, left);
        }
        true
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The update that is due and how many are missing before it; `None` at the end.
    fn next(&self) -> Option<(Waiting, u64)> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            if let Some(waiting) = state.waiting.pop_front() {
                state.busy = true;
                return Some((waiting, state.missed));
            }
            state = self.wait(state, LONGEST_PAUSE);
        }
    }

    /// Waits before another try. False when there is to be none.
    fn pause(&self, pause: Duration, tried: &Waiting) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while !state.stopping && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.wait(state, left);
        }
        // When the queue is full the oldest goes, and that is the one in hand.
        let crowded = state.waiting.len() == QUEUE;
        !state.stopping && !crowded && tried.since.elapsed() < STALE
    }

    /// What a delivery said is missing has been told; one that failed is missing too.
    fn done(&self, delivered: bool, missed: u64) {
        let mut state = self.lock();
        state.busy = false;
        state.missed = if delivered {
            state.missed - missed
        } else {
            state.missed + 1
        };
        drop(state);
        self.changed.notify_all();
    }
}

fn deliver(shared: &Shared) {
    let agent: ureq::Agent = crate::http()
        .timeout_global(Some(ANSWER))
        .max_redirects(0)
        .build()
        .into();
    let url = &shared.target.url;
    while let Some((waiting, missed)) = shared.next() {
        let mut pause = FIRST_PAUSE;
        let delivered = loop {
            match post(&agent, &shared.target, &waiting, missed) {
                Outcome::Delivered => break true,
                Outcome::Refused(why) => {
                    tracing::warn!(url, why, "a webhook refused an update");
                    break false;
                }
                Outcome::Away(why) => {
                    tracing::debug!(url, why, "a webhook could not be told, trying again");
                    if !shared.pause(pause, &waiting) {
                        tracing::warn!(url, why, "a webhook could not be told");
                        break false;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        shared.done(delivered, missed);
    }
}

fn post(agent: &ureq::Agent, target: &Target, waiting: &Waiting, missed: u64) -> Outcome {
    let message = Message {
        number: waiting.number,
        missed,
        time_ms: waiting.time_ms,
        stream: &waiting.stream,
        update: &waiting.update,
    };
    let body = match serde_json::to_vec(&message) {
        Ok(body) => body,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let mut request = agent
        .post(&target.url)
        .header("Content-Type", "application/json");
    if let Some(secret) = &target.secret {
        request = request.header("X-Kinora-Signature", signature(secret, &body));
    }
    match request.send(&body[..]) {
        Ok(answer) => match answer.status().as_u16() {
            200..=299 => Outcome::Delivered,
            // What says "later", and what is wrong with the receiver and not with the message.
            408 | 425 | 429 | 500..=599 => Outcome::Away(answer.status().to_string()),
            _ => Outcome::Refused(answer.status().to_string()),
        },
        Err(ureq::Error::BadUri(what)) => Outcome::Refused(what),
        Err(error) => Outcome::Away(error.to_string()),
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write;
    // HMAC takes keys of any length; the error is for functions that do not.
    let mut text = String::from("sha256=");
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn signatures() {
        let check = |secret: &str, body: &str, expected: &str| {
            assert_eq!(
                signature(secret, body.as_bytes()),
                format!("sha256={expected}")
            );
        };
        check(
            &"\u{b}".repeat(20),
            "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            "Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
    }
}
