//! Live sources: the one place where an address is opened, and only one that the caller named.
//!
//! RTMP, RTSP and SRT, pulled by libav. The scheme decides the container beforehand, so that what a
//! server sends is never taken for a playlist or anything else that names further addresses, and the
//! protocols allowed are those that the scheme itself is made of. Each call ends in bounded time or
//! when the caller says so.

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ffmpeg_sys_the_third as sys;

use crate::dictionary::Dictionary;
use crate::error::{Error, Result, out_of_memory, plain};
use crate::file::{Reader, Source, interrupt};
use crate::input::{Input, Limits, MAX_STREAMS, OpenOptions, STREAM_PROBE_BYTES, failure};
use crate::log;

/// Schemes that can be opened: RTMP, RTSP and SRT, the first two also over TLS.
pub const LIVE_SCHEMES: [&str; 5] = ["rtmp", "rtmps", "rtsp", "rtsps", "srt"];

/// How long a stream is looked at until its codecs are known, in microseconds.
const LONGEST_LOOK: i64 = 3_000_000;

/// What a scheme means to libav.
struct Scheme {
    demuxer: &'static str,
    protocols: &'static str,
    options: &'static [(&'static str, &'static str)],
}

/// RTSP over TCP first: what is lost on the way cannot be asked for again over UDP.
const RTSP: &[(&str, &str)] = &[("rtsp_flags", "prefer_tcp")];

fn scheme(name: &str) -> Option<Scheme> {
    let (demuxer, protocols, options) = match name {
        "rtmp" => ("flv", "rtmp,tcp", &[("rtmp_live", "live")] as &[_]),
        "rtmps" => (
            "flv",
            "rtmps,rtmp,tls,tcp",
            &[("rtmp_live", "live")] as &[_],
        ),
        "rtsp" => ("rtsp", "rtsp,rtp,udp,tcp", RTSP),
        "rtsps" => ("rtsp", "rtsps,rtp,udp,tls,tcp", RTSP),
        "srt" => ("mpegts", "srt", &[] as &[_]),
        _ => return None,
    };
    Some(Scheme {
        demuxer,
        protocols,
        options,
    })
}

/// Bounds on waiting for a live source.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The longest that connecting and learning the streams may take.
    pub connect: Duration,
    /// The longest silence.
    pub silence: Duration,
    /// Ends any call when it is raised.
    pub stop: Arc<AtomicBool>,
    /// Limits on pictures; its deadline is not used.
    pub open: OpenOptions,
}

impl Input {
    /// Opens a live source and learns its streams. It has no end that is known and no size.
    ///
    /// # Errors
    /// [`Error::Address`] for an address of another kind; [`Error::Timeout`]; [`Error::Libav`] with
    /// what the network or the server said.
    pub fn open_live(address: &str, options: &LiveOptions) -> Result<Self> {
        log::clear();
        let subject: Arc<str> = public(address).into();
        let unfit = || Error::Address {
            address: Arc::clone(&subject),
        };
        let name = address
            .split_once("://")
            .map(|(name, _)| name.to_ascii_lowercase());
        let scheme = name.as_deref().and_then(scheme).ok_or_else(unfit)?;
        let url = CString::new(address).map_err(|_| unfit())?;
        let demuxer_name = CString::new(scheme.demuxer).unwrap_or_default();
        // SAFETY: a look-up by a zero-ended string; what is found is a constant.
        let demuxer = unsafe { sys::av_find_input_format(demuxer_name.as_ptr()) };
        if demuxer.is_null() {
            let reason = format!("this FFmpeg has no demuxer {}", scheme.demuxer);
            return Err(plain(&subject, "connecting", reason));
        }
        let source = Source::of_address(options.connect, Arc::clone(&options.stop));
        let mut reader = Reader::detached(source);
        reader.source().restart_clock();
        let protocols = CString::new(scheme.protocols).unwrap_or_default();
        // SAFETY: allocates; null is checked. The callback's object outlives the context, which is
        // dropped first; the whitelist is a string of libav's own allocator, freed with the context.
        let mut context = unsafe {
            let context = sys::avformat_alloc_context();
            if context.is_null() {
                return Err(out_of_memory(&subject, "connecting"));
            }
            let raw = &mut *context;
            raw.interrupt_callback.callback = Some(interrupt);
            raw.interrupt_callback.opaque = reader.opaque();
            raw.protocol_whitelist = sys::av_strdup(protocols.as_ptr());
            raw.max_streams = MAX_STREAMS;
            raw.probesize = STREAM_PROBE_BYTES;
            raw.max_analyze_duration = LONGEST_LOOK;
            context
        };
        let mut dictionary = Dictionary::from_pairs(scheme.options.iter().copied());
        // SAFETY: the context is live and passes to libav, which frees it on failure and then leaves
        // null; the address is a zero-ended string.
        let code = unsafe {
            sys::avformat_open_input(&mut context, url.as_ptr(), demuxer, dictionary.as_mut_ptr())
        };
        if code < 0 {
            debug_assert_eq!(context, ptr::null_mut());
            return Err(failure(&mut reader, &subject, "connecting", code));
        }
        let limits = Limits {
            max_side: options.open.max_side,
            max_pixels: options.open.max_pixels,
        };
        let mut input = Self::of_context(context, reader, subject, limits)?;
        input.set_patience(options.silence);
        Ok(input)
    }
}

/// An address without what is secret in it: user, password, stream key, parameters.
fn public(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.chars().take(40).collect();
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let shown = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let host: String = host.chars().filter(|&c| shown(c)).collect();
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (address, expected) in [
            ("rtmp://live.example/app/key?token=1", "rtmp://live.example"),
            (
                "rtsp://me:secret@[2001:db8::1]:554/cam",
                "rtsp://[2001:db8::1]:554",
            ),
            (
                "srt://10.0.0.1:9000?passphrase=secret",
                "srt://10.0.0.1:9000",
            ),
            ("file name", "file name"),
        ] {
            assert_eq!(public(address), expected);
        }
    }

    #[test]
    fn nothing_else_is_opened() {
        let options = LiveOptions {
            connect: Duration::from_secs(2),
            silence: Duration::from_secs(2),
            stop: Arc::new(AtomicBool::new(false)),
            open: OpenOptions::default(),
        };
        for address in [
            "http://127.0.0.1:9/x",
            "file:///etc/passwd",
            "/etc/passwd",
            "concat:a|b",
            "rtmp:/x",
            "udp://127.0.0.1:9",
            "",
        ] {
            let error = Input::open_live(address, &options).map(drop).unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{address}: {error}");
        }
        for name in LIVE_SCHEMES {
            assert!(scheme(name).is_some(), "{name}");
        }
        // Nobody listens there, and nothing waits.
        let error = Input::open_live("rtmp://127.0.0.1:9/a/b", &options).map(drop);
        assert!(matches!(error, Err(Error::Libav { .. })), "{error:?}");
    }
}
