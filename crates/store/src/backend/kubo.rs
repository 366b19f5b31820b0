//! A Kubo node by its RPC (docs.ipfs.tech, "Kubo RPC API v0"):
//! `kubo+http://[user:secret@]host[:port]`, with `?timeout=SECONDS` for what moves no content.
//!
//! An object goes there as a CAR of all its blocks (`dag/import`), so its CID there is its CID
//! here, and is then pinned under the pin's name (`pin/add`), which is also what IPFS Cluster's
//! proxy turns into a replicated pin. What Kubo says cannot be taken at its word: a 200 may be
//! followed by `X-Stream-Error` or contain a `PinErrorMsg`, an unpinned CID is a 500 known by its
//! text, and `pin/add` of a block that is missing never returns unless it is told a time.
//!
//! What is let go of is unpinned; when the bytes go is up to the node's own collection, because
//! `block/rm` and `repo/gc` stop everybody else's writes. Pins belong to the node and not to a
//! store, so stores with common content should not share one.

use std::{fmt::Write as _, io::Write, time::Duration};

use bytes::Bytes;
use cid::{Cid, multibase::Base};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Backend, Failure, Leaf, Upload, Url,
    http::{self, Answer, Request, Sending},
};
use serde_json::Value;

use crate::{car, dag::widen, unixfs::MAX_BLOCK};

/// What an answer may take that moves no content, unless `timeout=SECONDS` says otherwise.
const WITHIN: Duration = Duration::from_secs(20);

/// The slowest that content may move, in bytes per second, before it counts as not moving.
const SLOWEST: u64 = 128 << 10;

/// Bytes of an answer that is not content.
const MOST: u64 = 1 << 20;

const BOUNDARY: &str = "kinora-6b1f0c0e";

/// A node's RPC.
pub struct Kubo {
    host: String,
    /// What stands before `/api/v0`, for nodes behind a proxy.
    prefix: String,
    authorization: Option<String>,
    within: Duration,
}

impl Kubo {
    pub(crate) fn new(url: &mut Url<'_>) -> Result<Self, String> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if url.host.is_empty() || !url.host.chars().all(valid) {
            return Err("it names no host".into());
        }
        let within = match url.option("timeout") {
            None => WITHIN,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=3600) => Duration::from_secs(seconds),
                _ => return Err(format!("{text:?} is not a number of seconds")),
            },
        };
        let with_port = url
            .host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let prefix = url
            .path
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(String::new(), |prefix, part| {
                format!("{prefix}/{}", utf8_percent_encode(part, NON_ALPHANUMERIC))
            });
        Ok(Self {
            host: if with_port {
                url.host.into()
            } else {
                format!("{}:5001", url.host)
            },
            prefix,
            authorization: url.user.as_deref().map(basic),
            within,
        })
    }

    /// How long the node may try, as it is told: it is to answer before we stop listening.
    fn its_time(&self) -> String {
        format!("{}ms", self.within.as_millis() * 4 / 5)
    }

    /// One call without a body.
    fn call(&self, path: &str, args: &[(&str, &str)], most: u64) -> Result<Answer, Failure> {
        self.exchange(path, args, None, self.within, most, |_| Ok(()))
    }

    fn exchange(
        &self,
        path: &str,
        args: &[(&str, &str)],
        body: Option<(&str, u64)>,
        within: Duration,
        most: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Sending>,
    ) -> Result<Answer, Failure> {
        let mut target = format!("{}/api/v0/{path}", self.prefix);
        for (n, (key, value)) in args.iter().enumerate() {
            let sign = if n == 0 { '?' } else { '&' };
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            let _ = write!(target, "{sign}{key}={value}");
        }
        let request = Request {
            host: &self.host,
            target,
            authorization: self.authorization.as_deref(),
            body,
            within,
            most,
        };
        http::post(&request, write)
    }

    /// Sends all blocks of an object as one CAR in one part of a form.
    fn import(&self, object: &Upload) -> Result<(), Failure> {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}.car\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            object.cid
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let car_head = car::header(&[widen(&object.cid)]);
        let nodes = object.nodes.iter().map(|(cid, node)| (cid, node.len()));
        let leaves = object
            .leaves
            .iter()
            .map(|leaf| (&leaf.cid, leaf.length as usize));
        let content: usize = nodes
            .chain(leaves)
            .map(|(cid, length)| car::block_head(&widen(cid), length).len() + length)
            .sum();
        let length = (head.len() + car_head.len() + content + tail.len()) as u64;
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let answer = self.exchange(
            "dag/import",
            &[("pin-roots", "false")],
            Some((&kind, length)),
            self.within + Duration::from_secs(length / SLOWEST),
            MOST,
            |out| {
                out.write_all(head.as_bytes())?;
                out.write_all(&car_head)?;
                for (cid, node) in &object.nodes {
                    section(out, cid, node)?;
                }
                for leaf in &object.leaves {
                    let bytes = object.leaf(leaf).map_err(Sending::Content)?;
                    section(out, &leaf.cid, &bytes)?;
                }
                Ok(out.write_all(tail.as_bytes())?)
            },
        )?;
        imported(&ok(answer)?)
    }

    /// Pins an object whose blocks are there. Files whole; a node object is pinned alone, because
    /// what it links to are objects with pins of their own, if they are held at all.
    fn pin(&self, object: &Upload) -> Result<(), Failure> {
        let cid = object.cid.to_string();
        let recursive = if object.file.is_some() {
            "true"
        } else {
            "false"
        };
        let name = object.held_by.as_deref().unwrap_or(&cid);
        // The node takes names of up to 255 bytes.
        let name = beginning(name, 255);
        let args = [
            ("arg", cid.as_str()),
            ("recursive", recursive),
            ("name", name),
            ("timeout", &self.its_time()),
        ];
        let answer = self.call("pin/add", &args, MOST)?;
        let body = ok(answer)?;
        // Any version and base of the CID may stand for it.
        let answered = lines(&body).any(|line| pins(&line).any(|text| same(text, &object.cid)));
        if answered {
            return Ok(());
        }
        let answer = excerpt(&body);
        Err(Failure::Refused(format!(
            "pin/add of {cid} answered without it: {answer}"
        )))
    }
}

impl Backend for Kubo {
    fn connect(&self, _owner: &str) -> Result<String, Failure> {
        let body = ok(self.call("version", &[], MOST)?)?;
        let version = lines(&body).find_map(|line| Some(line["Version"].as_str()?.to_owned()));
        match version {
            Some(version) => Ok(format!("version {version}")),
            None => Err(Failure::Refused(format!(
                "it answers like no Kubo: {}",
                excerpt(&body)
            ))),
        }
    }

    fn put(&self, object: &Upload) -> Result<(), Failure> {
        self.import(object)?;
        self.pin(object)
    }

    fn has(&self, object: &Cid, _size: u64) -> Result<bool, Failure> {
        let cid = object.to_string();
        let answer = self.call("pin/ls", &[("arg", &cid)], MOST)?;
        if is_not_pinned(&answer) {
            return Ok(false);
        }
        ok(answer).map(|_| true)
    }

    fn read(&self, leaf: &Leaf) -> Result<Option<Bytes>, Failure> {
        let cid = leaf.cid.to_string();
        // Offline: a node would otherwise look for the block in the whole network.
        let args = [
            ("arg", cid.as_str()),
            ("offline", "true"),
            ("timeout", &self.its_time()),
        ];
        let answer = self.call("block/get", &args, MAX_BLOCK as u64)?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status == 500
            && ["not found", "NotFound", "could not find"]
                .iter()
                .any(|s| text.contains(s))
        {
            return Ok(None);
        }
        ok(answer).map(|body| Some(body.into()))
    }

    fn remove(&self, object: &Cid) -> Result<(), Failure> {
        let cid = object.to_string();
        let answer = self.call("pin/rm", &[("arg", &cid)], MOST)?;
        if is_not_pinned(&answer) {
            return Ok(());
        }
        ok(answer).map(|_| ())
    }
}

fn section(out: &mut dyn Write, cid: &Cid, bytes: &[u8]) -> Result<(), Sending> {
    out.write_all(&car::block_head(&widen(cid), bytes.len()))?;
    Ok(out.write_all(bytes)?)
}

/// The body of an answer that says that all went well, to its very end.
fn ok(answer: Answer) -> Result<Vec<u8>, Failure> {
    if let Some(error) = answer.stream_error {
        return Err(Failure::Refused(format!("it failed half-way: {error}")));
    }
    match answer.status {
        200 => Ok(answer.body),
        429 | 502..=504 => Err(Failure::Away(format!("status {}", answer.status))),
        status => {
            let text = excerpt(&answer.body);
            Err(Failure::Refused(format!("status {status}: {text}")))
        }
    }
}

/// Holds what an import says of its roots against it.
fn imported(body: &[u8]) -> Result<(), Failure> {
    for line in lines(body) {
        let error = line["Root"]["PinErrorMsg"].as_str().unwrap_or_default();
        if !error.is_empty() {
            return Err(Failure::Refused(format!(
                "it did not take the root: {error}"
            )));
        }
    }
    Ok(())
}

/// The JSON values of an answer, which has one to a line.
fn lines(body: &[u8]) -> impl Iterator<Item = Value> + '_ {
    serde_json::Deserializer::from_slice(body)
        .into_iter()
        .map_while(Result::ok)
}

fn pins(line: &Value) -> impl Iterator<Item = &str> {
    line["Pins"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Whether a text is this CID in any version and base.
fn same(text: &str, cid: &Cid) -> bool {
    Cid::try_from(text).is_ok_and(|said| said.codec() == cid.codec() && said.hash() == cid.hash())
}

/// What an answer says, for people: on one line and not too long.
fn excerpt(body: &[u8]) -> String {
    let message = lines(body).find_map(|line| Some(line["Message"].as_str()?.to_owned()));
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text = text.replace(|c: char| c.is_control(), " ");
    beginning(text.trim(), 300).into()
}

/// At most so many bytes of a text.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// RFC 7617.
fn basic(user: &str) -> String {
    format!("Basic {}", Base::Base64Pad.encode(user))
}

fn is_not_pinned(answer: &Answer) -> bool {
    answer.status == 500 && String::from_utf8_lossy(&answer.body).contains("not pinned")
}
