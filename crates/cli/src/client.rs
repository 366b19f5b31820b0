//! Talking to a running server: its JSON API over plain HTTP, and its errors in our words.

use crate::variants::Variant;
use crate::{credentials, shown, units};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body, RequestBuilder, SendBody};

/// What an answer may weigh; the largest is the list of all assets.
const LARGEST_ANSWER: u64 = 64 << 20;

#[derive(clap::Args)]
pub struct ServerAddress {
    /// The server to talk to
    #[arg(
        long,
        value_name = "URL",
        env = "KINORA_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7420"
    )]
    pub server: String,
}

pub struct Client {
    address: String,
    agent: Agent,
    token: Option<String>,
}

/// The parts of an asset that people are shown.
#[derive(Deserialize)]
pub struct Asset {
    pub id: String,
    pub name: String,
    pub size: u64,
    pub cid: Option<String>,
    pub created: String,
    pub state: String,
    pub error: Option<String>,
    pub probe: Option<Value>,
    #[serde(default)]
    pub verdicts: Vec<Value>,
    pub stream: Option<Stream>,
    #[serde(default)]
    pub variants: Vec<Variant>,
}

#[derive(Deserialize)]
pub struct Stream {
    pub state: String,
    pub error: Option<String>,
    pub url: Option<String>,
    pub progress: Option<Progress>,
    #[serde(default)]
    pub rungs: Vec<Rung>,
}

#[derive(Deserialize)]
pub struct Progress {
    pub fraction: Option<f64>,
    pub speed: Option<f64>,
    pub eta_s: Option<f64>,
}

#[derive(Deserialize)]
pub struct Rung {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub bit_rate: Option<u64>,
    pub segments: u64,
    #[serde(default)]
    pub copied: bool,
}

/// An error answer as RFC 9457 forms it.
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl ServerAddress {
    /// The server's address as tokens are kept by it.
    pub fn address(&self) -> String {
        self.server.trim_end_matches('/').to_owned()
    }

    pub fn client(&self) -> Client {
        // A server on one's own network is reached directly, whatever proxy the web needs.
        let config = publish::http()
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        let address = self.address();
        Client {
            token: credentials::token(&address),
            address,
            agent: config.into(),
        }
    }
}

impl Client {
    /// The whole address of a path on the server; an address already whole stays as it is.
    pub fn url(&self, path: &str) -> String {
        if path.contains("://") {
            path.to_owned()
        } else {
            format!("{}{path}", self.address)
        }
    }

    /// The request with the server's token, unless it goes elsewhere.
    fn signed<B>(&self, path: &str, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let url = self.url(path);
        let below = url.strip_prefix(&self.address);
        match &self.token {
            Some(token) if below.is_some_and(|rest| rest.starts_with('/')) => {
                request.header("Authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.reached(self.signed(path, self.agent.get(self.url(path))).call())?;
        parse(path, accepted(answer)?)
    }

    pub fn delete(&self, path: &str) -> Result<()> {
        let answer = self.reached(self.signed(path, self.agent.delete(self.url(path))).call())?;
        accepted(answer).map(drop)
    }

    /// A POST of JSON that is answered with JSON.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let request = self.signed(path, self.agent.post(self.url(path)));
        let request = request.header("Content-Type", "application/json");
        let answer = self.reached(request.send(body.to_string()))?;
        parse(path, accepted(answer)?)
    }

    /// A PUT of JSON over what has this tag, and nothing else.
    pub fn put_json_over(&self, path: &str, tag: &str, body: &Value) -> Result<()> {
        let request = self.signed(path, self.agent.put(self.url(path)));
        let request = request.header("Content-Type", "application/json");
        let request = request.header("If-Match", tag);
        accepted(self.reached(request.send(body.to_string()))?).map(drop)
    }

    /// A POST of a form that is answered with JSON.
    pub fn post_form<T: DeserializeOwned>(&self, path: &str, form: &[(&str, &str)]) -> Result<T> {
        parse(path, accepted(self.send_form(path, form)?)?)
    }

    /// A POST of a form whose refusal is JSON of the caller's subject too.
    pub fn post_form_whatever<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<T> {
        let answer = self.send_form(path, form)?;
        if answer.status().is_success() || answer.status() == StatusCode::BAD_REQUEST {
            parse(path, answer)
        } else {
            parse(path, accepted(answer)?)
        }
    }

    fn send_form(&self, path: &str, form: &[(&str, &str)]) -> Result<Response<Body>> {
        let request = self.agent.post(self.url(path));
        self.reached(request.send_form(form.iter().copied()))
    }

    /// A PATCH of JSON that is answered with JSON.
    pub fn patch_json<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let request = self.signed(path, self.agent.patch(self.url(path)));
        let request = request.header("Content-Type", "application/json");
        let answer = self.reached(request.send(body.to_string()))?;
        parse(path, accepted(answer)?)
    }

    /// A PUT of JSON.
    pub fn put_json(&self, path: &str, body: &Value) -> Result<()> {
        let request = self.signed(path, self.agent.put(self.url(path)));
        let request = request.header("Content-Type", "application/json");
        let answer = self.reached(request.send(body.to_string()))?;
        accepted(answer).map(drop)
    }

    /// A list, page after page (RFC 8288).
    pub fn get_pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let request = self.signed(&path, self.agent.get(self.url(&path)));
            let answer = self.reached(request.call())?;
            let answer = accepted(answer)?;
            let link = answer.headers().get("link");
            next = link.and_then(|link| next_page(link.to_str().ok()?));
            let page: Vec<T> = parse(&path, answer)?;
            all.extend(page);
        }
        Ok(all)
    }

    /// Where a path leads to.
    pub fn location(&self, path: &str) -> Result<String> {
        let request = self.signed(path, self.agent.get(self.url(path)));
        let request = request.config().max_redirects(0);
        let request = request.max_redirects_will_error(false).build();
        let answer = self.reached(request.call())?;
        if !answer.status().is_redirection() {
            accepted(answer)?;
            bail!("{path}: the server does not say where that is");
        }
        let location = answer.headers().get("location");
        let location = location.and_then(|location| location.to_str().ok());
        Ok(location
            .context("the server does not say where that is")?
            .to_owned())
    }

    /// A POST without a body.
    pub fn post(&self, path: &str, headers: &[(&str, String)]) -> Result<HeaderMap> {
        let request = headers.iter().fold(
            self.signed(path, self.agent.post(self.url(path))),
            |request, (name, value)| request.header(*name, value),
        );
        let answer = self.reached(request.send_empty())?;
        Ok(accepted(answer)?.into_parts().0.headers)
    }

    /// The headers of a path, or the transport's error, so that the caller may try again.
    pub fn head(
        &self,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<(StatusCode, HeaderMap), ureq::Error> {
        let request = headers.iter().fold(
            self.signed(path, self.agent.head(self.url(path))),
            |request, (name, value)| request.header(*name, value),
        );
        let answer = request.call()?;
        Ok((answer.status(), answer.into_parts().0.headers))
    }

    /// A PATCH whose outcome the caller judges: the connection may drop in the middle.
    pub fn patch(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: SendBody<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        headers
            .iter()
            .fold(
                self.signed(path, self.agent.patch(self.url(path))),
                |request, (name, value)| request.header(*name, value),
            )
            .send(body)
    }

    /// Server-sent events (WHATWG HTML, 9.2), as name and data, until the connection ends.
    pub fn events(&self) -> Result<impl Iterator<Item = Result<(String, String)>> + use<>> {
        let path = "/api/events";
        let answer =
            accepted(self.reached(self.signed(path, self.agent.get(self.url(path))).call())?)?;
        let reader = answer
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        let mut lines = BufReader::new(reader).lines();
        Ok(std::iter::from_fn(move || next_event(&mut lines)))
    }

    fn reached(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                bail!("not a server's address: {}", self.address)
            }
            Err(error) if is_absent(&error) => bail!(
                "no Kinora server answers at {}: start one with `kinora serve`, or name another with --server URL",
                self.address
            ),
            Err(error) => Err(error).with_context(|| self.address.clone()),
        }
    }
}

/// The address in a Link header whose relation is `next`.
fn next_page(link: &str) -> Option<String> {
    let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
    relation
        .contains("rel=\"next\"")
        .then(|| address.to_owned())
}

/// Whether nobody listened at all.
pub fn is_absent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

/// The answer if it is a success; else the server's own words.
pub fn accepted(mut answer: Response<Body>) -> Result<Response<Body>> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    match serde_json::from_str::<Problem>(&text) {
        Ok(
            Problem {
                detail: Some(words),
                ..
            }
            | Problem {
                title: Some(words), ..
            },
        ) => bail!("{words}"),
        _ => bail!("the server answered {status}"),
    }
}

fn parse<T: DeserializeOwned>(path: &str, mut answer: Response<Body>) -> Result<T> {
    let text = answer
        .body_mut()
        .with_config()
        .limit(LARGEST_ANSWER)
        .read_to_string()
        .with_context(|| format!("{path}: read the answer"))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{path}: the answer is not what this version of kinora knows"))
}

fn next_event(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) -> Option<Result<(String, String)>> {
    let (mut name, mut data) = (String::from("message"), Vec::new());
    for line in lines {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(error).context("the server's events")),
        };
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // An empty line ends an event; comments alone make none.
            "" if line.is_empty() && !data.is_empty() => return Some(Ok((name, data.join("\n")))),
            "event" => name = value.to_owned(),
            "data" => data.push(value.to_owned()),
            _ => {}
        }
    }
    None
}

/// The path of an asset; an id is one segment, whatever is in it.
pub fn asset_path(id: &str) -> String {
    path_below("/api/assets/", id)
}

/// The path of something below another; its name is one segment, whatever is in it.
pub fn path_below(above: &str, name: &str) -> String {
    let mut path = String::from(above);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            path.push(byte.into());
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

impl Asset {
    /// The name, safe to print.
    pub fn shown_name(&self) -> String {
        shown::text(&self.name)
    }

    /// `hevc 1920x1080 24 fps`, of the first stream that is no cover picture.
    pub fn video(&self) -> Option<String> {
        let streams = self.probe.as_ref()?.get("video")?.as_array()?;
        let video = streams
            .iter()
            .find(|stream| stream.get("attached_picture") != Some(&Value::Bool(true)))?;
        let text = |name: &str| video.get(name).and_then(Value::as_str);
        let number = |name: &str| video.get(name).and_then(Value::as_u64);
        let mut words = vec![shown::text(text("codec").unwrap_or("?"))];
        if let (Some(width), Some(height)) = (number("width"), number("height")) {
            words.push(format!("{width}x{height}"));
        }
        if let Some(fps) = text("fps") {
            words.push(format!("{} fps", units::frame_rate(&shown::text(fps))));
        }
        Some(words.join(" "))
    }

    pub fn duration_s(&self) -> Option<f64> {
        self.probe.as_ref()?.get("duration_s")?.as_f64()
    }

    /// For how many of the enrolled boards there is something to play: `3 of 4`.
    pub fn boards_state(&self) -> String {
        if self.variants.is_empty() {
            return "-".into();
        }
        let there = self.variants.iter().filter(|variant| variant.url.is_some());
        format!("{} of {}", there.count(), self.variants.len())
    }

    /// The stream in a word or two: `done`, `running 40 %`.
    pub fn stream_state(&self) -> String {
        let Some(stream) = &self.stream else {
            return "-".into();
        };
        match stream
            .progress
            .as_ref()
            .and_then(|progress| progress.fraction)
        {
            Some(fraction) if stream.state == "running" => {
                format!("running {:.0} %", fraction * 100.0)
            }
            _ => stream.state.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        #[track_caller]
        fn check(text: &str, expected: &[(&str, &str)]) {
            let mut lines = text.lines().map(|line| Ok(line.to_owned()));
            let events: Vec<_> = std::iter::from_fn(|| next_event(&mut lines))
                .map(Result::unwrap)
                .collect();
            let events: Vec<_> = events
                .iter()
                .map(|(name, data)| (name.as_str(), data.as_str()))
                .collect();
            assert_eq!(events, expected);
        }
        check("event: asset\ndata: {}\n\n", &[("asset", "{}")]);
        check(
            ": alive\n\ndata:1\ndata: 2\n\nevent: removed\ndata: x\n\n",
            &[("message", "1\n2"), ("removed", "x")],
        );
        check("event: asset\ndata: cut short", &[]);
    }

    #[test]
    fn pages() {
        for (link, next) in [
            (
                "</api/assets?after=1.a>; rel=\"next\"",
                Some("/api/assets?after=1.a"),
            ),
            ("</api/assets>; rel=\"prev\"", None),
            ("nonsense", None),
        ] {
            assert_eq!(next_page(link).as_deref(), next);
        }
    }

    #[test]
    fn an_id_is_one_segment() {
        assert_eq!(asset_path("a1-B_2"), "/api/assets/a1-B_2");
        assert_eq!(asset_path("../x?y"), "/api/assets/%2E%2E%2Fx%3Fy");
    }

    #[test]
    fn what_people_see_of_an_asset() {
        let asset: Asset = serde_json::from_value(serde_json::json!({
            "id": "1", "name": "a\nb.mp4", "size": 1, "cid": null, "created": "", "state": "ready", "error": null,
            "probe": { "duration_s": 12.5, "video": [
                { "codec": "mjpeg", "width": 300, "height": 300, "attached_picture": true },
                { "codec": "hevc", "width": 1920, "height": 1080, "fps": "30000/1001" }] },
            "stream": { "state": "running", "error": null, "url": null, "progress": { "fraction": 0.4, "speed": 1.9, "eta_s": 3.8 } }
        }))
        .unwrap();
        assert_eq!(asset.video().as_deref(), Some("hevc 1920x1080 29.97 fps"));
        assert_eq!(asset.shown_name(), "a\\nb.mp4");
        assert_eq!(asset.stream_state(), "running 40 %");
        assert_eq!(asset.duration_s(), Some(12.5));
    }
}
