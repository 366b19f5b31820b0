//! Live sources: what the catalog keeps of one, and how it is shown.

use catalog::{LiveState, roots};
use ladder::{Container, Live};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::time::rfc3339;

/// Length of a low-latency stream's parts in seconds.
const PART_S: f64 = 0.5;

/// What is kept of a live source, as JSON in its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) source: String,
    pub(crate) segment_s: f64,
    pub(crate) part_s: Option<f64>,
    pub(crate) window_s: Option<f64>,
    pub(crate) container: Container,
    pub(crate) webhook: Option<Hook>,
}

/// Who is told what happens to a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Hook {
    /// An `http` or `https` address that takes JSON by POST.
    #[schema(example = "http://127.0.0.1:8080/kinora")]
    url: String,
    /// What signs each message (`X-Kinora-Signature`, HMAC-SHA256).
    secret: Option<String>,
}

/// A live source to make a stream of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LiveWanted)]
pub(crate) struct Asked {
    /// The stream's name: letters, digits, `-`, `_` and `.`, 64 at most.
    #[schema(example = "gate")]
    pub(crate) name: String,
    /// Where the source is: `rtmp`, `rtmps`, `rtsp`, `rtsps` or `srt`.
    #[schema(example = "rtsp://camera.lan/stream1")]
    pub(crate) source: String,
    /// Seconds that the playlists name; without it everything since the beginning.
    window_s: Option<f64>,
    /// Whether players may have parts of a segment before it is whole (Low-Latency HLS). Its
    /// segments are CMAF.
    #[serde(default)]
    low_latency: bool,
    /// How segments are packed: `ts` (the default) or `cmaf`.
    #[schema(value_type = Option<String>)]
    container: Option<Container>,
    /// Who is told of its segments and playlists.
    webhook: Option<Hook>,
}

/// A stream that has its name from somebody.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LiveStream)]
pub(crate) struct Stream {
    /// Its name.
    #[schema(example = "gate")]
    name: String,
    state: State,
    /// When it was asked for (RFC 3339, UTC).
    created: Option<String>,
    /// The source without what may be secret of its address; none of a stream that `kinora ladder`
    /// made.
    #[schema(example = "rtsp://camera.lan")]
    source: Option<String>,
    /// Address of the master playlist, once every rung has a segment.
    url: Option<String>,
    /// Seconds that the playlists name.
    window_s: Option<f64>,
    /// Whether it is a low-latency stream.
    low_latency: bool,
    /// Seconds of it that are made, since it was last taken up.
    media_s: Option<f64>,
    /// What it waits for, when nothing comes: its source, or room on the disk.
    waiting: Option<String>,
}

/// Where such a stream stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LiveState)]
pub(crate) enum State {
    Waiting,
    Running,
    Ended,
    Cancelled,
    /// Made by `kinora ladder`, which alone knows whether it goes on.
    Stored,
}

impl Hook {
    pub(crate) fn target(&self) -> publish::Target {
        publish::Target {
            url: self.url.clone(),
            secret: self.secret.clone(),
        }
    }
}

impl Facts {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("its row cannot be read: {error}"))
    }
}

impl Asked {
    /// What is to be kept of it, or what is wrong with it.
    pub(crate) fn facts(self, segment_s: f64) -> Result<Facts, String> {
        if !publish::is_name(&self.name) {
            return Err(format!(
                "{:?}: a stream's name has letters, digits, - _ and . only, 64 at most",
                self.name
            ));
        }
        if !Live::is_address(&self.source) {
            return Err(
                "a live source is rtmp://, rtmps://, rtsp://, rtsps:// or srt://".to_owned(),
            );
        }
        if let Some(window_s) = self.window_s {
            if !(1.0..=86_400.0).contains(&window_s) {
                return Err("window_s is between 1 and 86400 seconds".to_owned());
            }
        }
        if let Some(hook) = &self.webhook {
            let schemes = ["http://", "https://"];
            if !schemes.iter().any(|scheme| hook.url.starts_with(scheme)) {
                return Err("a webhook is an http:// or https:// address".to_owned());
            }
        }
        let container = match (self.low_latency, self.container) {
            (true, Some(Container::Ts)) => {
                return Err("a low-latency stream's segments are cmaf".to_owned());
            }
            (true, _) => Container::Cmaf,
            (false, asked) => asked.unwrap_or_default(),
        };
        Ok(Facts {
            source: self.source,
            segment_s,
            part_s: self.low_latency.then_some(PART_S),
            window_s: self.window_s,
            container,
            webhook: self.webhook,
        })
    }
}

/// Scheme and host of an address: paths and queries of live sources are keys, as often as not.
fn host(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// A live stream as clients see it.
pub(crate) fn shown(app: &App, row: &catalog::Live) -> Stream {
    let facts = Facts::read(&row.facts).ok();
    let progress = app.progress(&row.name);
    Stream {
        name: row.name.clone(),
        state: match row.state() {
            LiveState::Waiting => State::Waiting,
            LiveState::Running => State::Running,
            LiveState::Ended => State::Ended,
            LiveState::Cancelled => State::Cancelled,
        },
        created: Some(rfc3339(row.created_ms)),
        source: facts.as_ref().map(|facts| host(&facts.source)),
        url: url(app, &row.name),
        window_s: facts.as_ref().and_then(|facts| facts.window_s),
        low_latency: facts.is_some_and(|facts| facts.part_s.is_some()),
        media_s: progress.as_ref().map(|progress| progress.media_s),
        waiting: progress.and_then(|progress| progress.waiting),
    }
}

/// A stream that `kinora ladder` made.
pub(crate) fn stored(app: &App, name: &str) -> Stream {
    Stream {
        name: name.to_owned(),
        state: State::Stored,
        created: None,
        source: None,
        url: url(app, name),
        window_s: None,
        low_latency: false,
        media_s: None,
        waiting: None,
    }
}

/// The master playlist's address, when there is one.
fn url(app: &App, name: &str) -> Option<String> {
    let there = app.store.resolve(&roots::playlist(name, "master.m3u8"));
    let there = there.is_ok_and(|record| record.is_some());
    there.then(|| format!("/streams/{name}/master.m3u8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let check = |address: &str, shown: &str| assert_eq!(host(address), shown);
        check(
            "rtsp://user:word@camera.lan:554/live?key=1",
            "rtsp://camera.lan:554",
        );
        check("rtmp://host/app/streamkey", "rtmp://host");
        check("srt://[::1]:9000?passphrase=x", "srt://[::1]:9000");
        check("rtsp://a@b@host", "rtsp://host");
    }

    #[test]
    fn what_is_asked_for() {
        let check = |json: &str, wrong: Option<&str>| {
            let facts = serde_json::from_str::<Asked>(json)
                .map_err(|error| error.to_string())
                .and_then(|asked| asked.facts(4.0));
            match (facts, wrong) {
                (Ok(_), None) => {}
                (Err(why), Some(wrong)) => assert!(why.contains(wrong), "{json}: {why}"),
                (outcome, _) => panic!("{json}: {outcome:?}"),
            }
        };
        check(r#"{"name":"a","source":"srt://h:1"}"#, None);
        check(
            r#"{"name":"a","source":"rtsp://h","window_s":60,"low_latency":true,"container":"cmaf"}"#,
            None,
        );
        check(r#"{"name":"a/b","source":"srt://h:1"}"#, Some("name"));
        check(
            r#"{"name":"a","source":"file:///etc/passwd"}"#,
            Some("live source"),
        );
        check(
            r#"{"name":"a","source":"srt://h","window_s":0}"#,
            Some("window_s"),
        );
        check(
            r#"{"name":"a","source":"srt://h","low_latency":true,"container":"ts"}"#,
            Some("cmaf"),
        );
        check(
            r#"{"name":"a","source":"srt://h","webhook":{"url":"ftp://x"}}"#,
            Some("webhook"),
        );
        check(
            r#"{"name":"a","source":"srt://h","windw_s":1}"#,
            Some("windw_s"),
        );
        check(r#"{"name":"a"}"#, Some("source"));
    }
}
