//! HEIF's still pictures (ISO/IEC 23008-12) and AVIF (AOMedia's AV1 Image File Format): which
//! coded items there are, how they are put together, turned and coloured.
//!
//! FFmpeg before 7.1 knows neither HEIC nor grids of tiles, and turns nothing; so the boxes are
//! read here, and libavcodec is given one coded picture at a time. Read are the primary item, coded
//! or a grid, what is cropped off it, its rotation, mirroring and colours, and how transparent it
//! is. Left out: overlays, depth and gain maps; sequences are video, and libavformat's to read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::colour::Colour;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::input::Limits;
use crate::packet::Packet;
use crate::rational::Rational;
use crate::scaler::{Geometry, Scaler};
use crate::still::filtered;

/// More tiles than the largest picture of the smallest honest ones.
const MAX_TILES: usize = 4096;
/// Honest files have as many items as tiles, and as many properties for each.
const MAX_ITEMS: usize = 16_384;
/// Pieces of all items: honest ones have one, or a few.
const MAX_EXTENTS: usize = 4 * MAX_ITEMS;

/// A decoded still.
pub(crate) struct Still {
    pub frame: Frame,
    /// How transparent it is.
    pub alpha: Option<Alpha>,
    /// Filters that turn it upright.
    pub turns: Vec<&'static str>,
    /// Its ICC profile.
    pub profile: Option<Vec<u8>>,
}

/// A picture whose brightness is another one's opacity.
pub(crate) struct Alpha {
    pub frame: Frame,
    /// The other one's samples were multiplied by it already.
    pub premultiplied: bool,
}

/// Whether the bytes begin like a file of stills.
pub(crate) fn is_still(file: &[u8]) -> bool {
    let Some(first) = boxes(file, 0..file.len().min(4096)).next() else {
        return false;
    };
    const STILLS: [&[u8]; 7] = [
        b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"mif2",
    ];
    first.kind == *b"ftyp"
        && file
            .get(first.body.start..first.body.start + 4)
            .is_some_and(|major| STILLS.contains(&major))
}

/// The file's primary picture.
pub(crate) fn still(bytes: &[u8], file: &Arc<str>, limits: Limits) -> Result<Still> {
    let reader = Reader {
        bytes,
        file,
        limits,
        meta: Meta::default(),
    };
    reader.read()
}

struct Reader<'a> {
    bytes: &'a [u8],
    file: &'a Arc<str>,
    limits: Limits,
    meta: Meta,
}

/// What the `meta` box says.
#[derive(Default)]
struct Meta {
    primary: u32,
    items: BTreeMap<u32, Item>,
    properties: Vec<Box4>,
    /// The contents of `idat`.
    data: Range<usize>,
}

#[derive(Default)]
struct Item {
    id: u32,
    kind: [u8; 4],
    /// Whether its bytes are in `idat` rather than anywhere in the file.
    in_data: bool,
    extents: Vec<(u64, u64)>,
    /// Numbers into the properties, from 1.
    properties: Vec<usize>,
    /// What it is derived from, in order.
    inputs: Vec<u32>,
    /// What it says something about: the pictures that it is the alpha of.
    masters: Vec<u32>,
    /// What its samples were multiplied by.
    multiplied_by: Vec<u32>,
}

/// A box: its type and where its contents lie.
#[derive(Clone)]
struct Box4 {
    kind: [u8; 4],
    body: Range<usize>,
}

/// The boxes of a range, as far as they are whole.
fn boxes(bytes: &[u8], range: Range<usize>) -> impl Iterator<Item = Box4> + '_ {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let head = bytes.get(at..range.end)?;
        let size = u32::from_be_bytes(*head.first_chunk()?);
        let kind = *head.get(4..)?.first_chunk()?;
        let (header, size) = match size {
            0 => (8, head.len()),
            1 => {
                let size = u64::from_be_bytes(*head.get(8..)?.first_chunk()?);
                (16, usize::try_from(size).ok()?)
            }
            size => (8, size as usize),
        };
        // The last box may be cut short: what is needed of it may be there all the same.
        let end = at.checked_add(size)?.min(range.end);
        let body = at + header..end;
        at = end;
        (body.start <= body.end && size >= header).then_some(Box4 { kind, body })
    })
}

/// Big-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn short(&mut self) -> Option<u32> {
        self.number(2).map(|number| number as u32)
    }

    fn long(&mut self) -> Option<u32> {
        self.number(4).map(|number| number as u32)
    }

    /// Version and flags of a full box.
    fn version(&mut self) -> Option<(u8, u32)> {
        let word = self.long()?;
        Some(((word >> 24) as u8, word & 0xff_ffff))
    }
}

impl Reader<'_> {
    fn damaged(&self, what: &str) -> Error {
        Error::Truncated {
            file: Arc::clone(self.file),
            message: what.to_owned(),
        }
    }

    fn read(mut self) -> Result<Still> {
        let meta = boxes(self.bytes, 0..self.bytes.len()).find(|one| one.kind == *b"meta");
        let meta = meta.ok_or_else(|| self.damaged("no box that describes its pictures"))?;
        self.meta = self
            .meta(&meta)
            .ok_or_else(|| self.damaged("the description of its pictures is damaged"))?;
        let primary = self.item(self.meta.primary)?;
        let frame = self.decode(primary, 0)?;
        // A picture whose opacity cannot be read is shown as if it had none.
        let alpha = self.alpha(primary).and_then(|alpha| {
            let premultiplied = primary.multiplied_by.contains(&alpha.id);
            let frame = self.cropped(primary, self.decode(alpha, 0).ok()?).ok()?;
            Some(Alpha {
                frame,
                premultiplied,
            })
        });
        Ok(Still {
            frame: self.cropped(primary, frame)?,
            alpha,
            turns: self.turns(primary),
            profile: self.profile(primary),
        })
    }

    fn body(&self, one: &Box4) -> &[u8] {
        self.bytes.get(one.body.clone()).unwrap_or_default()
    }

    fn meta(&self, meta: &Box4) -> Option<Meta> {
        let mut read = Meta::default();
        for one in boxes(self.bytes, meta.body.start + 4..meta.body.end) {
            let mut fields = Fields(self.body(&one));
            match &one.kind {
                b"pitm" => {
                    let (version, _) = fields.version()?;
                    read.primary = id(&mut fields, version > 0)?;
                }
                b"idat" => read.data = one.body.clone(),
                b"iinf" => {
                    let (version, _) = fields.version()?;
                    let skipped = if version == 0 { 6 } else { 8 };
                    let entries = one.body.start + skipped..one.body.end;
                    for entry in boxes(self.bytes, entries).take(MAX_ITEMS) {
                        let mut fields = Fields(self.body(&entry));
                        let (version, _) = fields.version()?;
                        let id = id(&mut fields, version > 2)?;
                        fields.short()?;
                        let kind = *fields.0.first_chunk()?;
                        read.item(id)?.kind = kind;
                    }
                }
                b"iloc" => locations(fields, &mut read)?,
                b"iref" => {
                    let (version, _) = fields.version()?;
                    for link in boxes(self.bytes, one.body.start + 4..one.body.end) {
                        let mut fields = Fields(self.body(&link));
                        let from = id(&mut fields, version > 0)?;
                        let count = fields.short()? as usize;
                        let to: Option<Vec<u32>> = (0..count.min(MAX_TILES))
                            .map(|_| id(&mut fields, version > 0))
                            .collect();
                        let item = read.item(from)?;
                        match &link.kind {
                            b"dimg" => item.inputs = to?,
                            b"auxl" => item.masters = to?,
                            b"prem" => item.multiplied_by = to?,
                            _ => {}
                        }
                    }
                }
                b"iprp" => {
                    for part in boxes(self.bytes, one.body.clone()) {
                        match &part.kind {
                            b"ipco" => {
                                read.properties =
                                    boxes(self.bytes, part.body).take(MAX_ITEMS).collect();
                            }
                            b"ipma" => associations(Fields(self.body(&part)), &mut read)?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(read)
    }

    fn item(&self, id: u32) -> Result<&Item> {
        let found = self.meta.items.get(&id);
        found.ok_or_else(|| self.damaged("its primary picture is not there"))
    }

    fn properties<'m>(&'m self, item: &'m Item) -> impl Iterator<Item = &'m Box4> {
        item.properties
            .iter()
            .filter_map(|number| self.meta.properties.get(number.checked_sub(1)?))
    }

    fn property(&self, item: &Item, kind: &[u8; 4]) -> Option<&[u8]> {
        let found = self.properties(item).find(|one| one.kind == *kind)?;
        Some(self.body(found))
    }

    fn data(&self, item: &Item) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        let base = if item.in_data {
            self.meta.data.start
        } else {
            0
        };
        for (offset, length) in &item.extents {
            let start = usize::try_from(*offset)
                .ok()
                .and_then(|at| at.checked_add(base));
            let found = start.and_then(|start| {
                let end = match usize::try_from(*length).ok()? {
                    0 => self.bytes.len(),
                    length => start.checked_add(length)?,
                };
                self.bytes.get(start..end)
            });
            let found = found.ok_or_else(|| self.damaged("a picture's bytes are missing"))?;
            // Extents may overlap: together they are no larger than the file in honest ones.
            if data.len() + found.len() > self.bytes.len() {
                return Err(self.damaged("a picture's bytes overlap"));
            }
            data.extend_from_slice(found);
        }
        if data.is_empty() {
            return Err(self.damaged("a picture without bytes"));
        }
        Ok(data)
    }

    fn decode(&self, item: &Item, depth: u32) -> Result<Frame> {
        if let Some(size) = self.property(item, b"ispe") {
            let mut fields = Fields(size.get(4..).unwrap_or_default());
            let (width, height) = (fields.long(), fields.long());
            self.limits
                .check(self.file, width.unwrap_or(0), height.unwrap_or(0))?;
        }
        let mut frame = match &item.kind {
            b"hvc1" | b"hev1" => self.coded(item, "hevc", b"hvcC")?,
            b"av01" => self.coded(item, "av1", b"av1C")?,
            b"avc1" => self.coded(item, "h264", b"avcC")?,
            b"jpeg" => self.coded(item, "mjpeg", b"jpgC")?,
            b"grid" if depth == 0 => self.grid(item)?,
            b"iden" if depth == 0 => {
                let source = item.inputs.first().copied().unwrap_or_default();
                self.decode(self.item(source)?, 1)?
            }
            kind => {
                return Err(Error::UnsupportedCodec {
                    file: Arc::clone(self.file),
                    codec: format!("HEIF item {}", kind.escape_ascii()),
                });
            }
        };
        if let Some(colour) = self.colour(item, frame.colour()) {
            frame.set_colour(colour);
        }
        Ok(frame)
    }

    fn coded(&self, item: &Item, codec: &str, headers: &[u8; 4]) -> Result<Frame> {
        let data = self.data(item)?;
        let headers = self.property(item, headers).unwrap_or_default();
        if cfg!(fuzzing) {
            return self.imagined(item, data.len() + headers.len());
        }
        let mut decoder = Decoder::with_headers(codec, headers, self.limits, self.file)?;
        let packet = Packet::from_data(&data, Rational::ONE)?;
        decoder.send(Some(&packet))?;
        decoder.send(None)?;
        match decoder.receive()? {
            Some(frame) => Ok(frame),
            None => Err(self.damaged("no picture can be decoded")),
        }
    }

    /// A picture of the size that is stated, in place of the coded one: what is fuzzed is what comes
    /// before and after libavcodec.
    fn imagined(&self, item: &Item, shade: usize) -> Result<Frame> {
        let size = self.property(item, b"ispe").unwrap_or_default();
        let mut fields = Fields(size.get(4..).unwrap_or_default());
        let (width, height) = (fields.long().unwrap_or(16), fields.long().unwrap_or(16));
        let mut frame = Frame::video(width.max(1), height.max(1), PixelFormat::YUV420P)?;
        for plane in 0..frame.planes() {
            if let Some((samples, _)) = frame.plane_mut(plane) {
                samples.fill(shade as u8);
            }
        }
        Ok(frame)
    }

    /// Tiles side by side in one RGB picture (23008-12, 6.6.2.3).
    fn grid(&self, item: &Item) -> Result<Frame> {
        let data = self.data(item)?;
        let read = || {
            let mut fields = Fields(&data);
            let flags = fields.short()? & 0xff;
            let rows = fields.number(1)? as usize + 1;
            let columns = fields.number(1)? as usize + 1;
            let bytes = if flags & 1 == 1 { 4 } else { 2 };
            let width = fields.number(bytes)? as u32;
            let height = fields.number(bytes)? as u32;
            Some((rows, columns, width, height))
        };
        let (rows, columns, width, height) =
            read().ok_or_else(|| self.damaged("a grid without a size"))?;
        self.limits.check(self.file, width, height)?;
        if width == 0 || height == 0 || item.inputs.len() < rows * columns {
            return Err(self.damaged("a grid without all of its tiles"));
        }
        let mut canvas = Frame::video(width, height, PixelFormat::BGRA)?;
        for (number, tile) in item.inputs.iter().take(rows * columns).enumerate() {
            let mut tile = self.decode(self.item(*tile)?, 1)?;
            tile.set_colour(as_still(tile.colour()));
            let source = Geometry::of(&tile);
            // Tiles cover the picture, and none lies outside of it.
            let covers = |tile: u32, count: usize, whole: u32| {
                let (tile, count, whole) = (u64::from(tile), count as u64, u64::from(whole));
                tile * count >= whole && tile * (count - 1) < whole
            };
            if !covers(source.width, columns, width) || !covers(source.height, rows, height) {
                return Err(self.damaged("a grid whose tiles do not fit it"));
            }
            let target = Geometry::new(source.width, source.height, PixelFormat::BGRA);
            let tile = Scaler::new(source, target)?.scale(&tile)?;
            let left = (number % columns) * source.width as usize;
            let top = (number / columns) * source.height as usize;
            paste(&tile, &mut canvas, left, top);
        }
        Ok(canvas)
    }

    /// The picture that says how opaque another one is (23008-12, 7.5.2).
    fn alpha(&self, of: &Item) -> Option<&Item> {
        const ALPHA: [&[u8]; 3] = [
            b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
            b"urn:mpeg:hevc:2015:auxid:1\0",
            b"urn:mpeg:avc:2015:auxid:1\0",
        ];
        self.meta.items.values().find(|item| {
            item.masters.contains(&of.id)
                && self
                    .property(item, b"auxC")
                    .and_then(|body| body.get(4..))
                    .is_some_and(|kind| ALPHA.iter().any(|alpha| kind.starts_with(alpha)))
        })
    }

    /// The part of a picture that is shown. It is what is left before anything is turned (MIAF,
    /// ISO/IEC 23000-22, 7.3.6.7).
    fn cropped(&self, item: &Item, frame: Frame) -> Result<Frame> {
        let part = self.property(item, b"clap");
        let part = part.and_then(|body| clean_aperture(body, frame.width(), frame.height()));
        match part {
            Some([width, height, left, top]) => filtered(
                frame,
                &format!("crop={width}:{height}:{left}:{top}:exact=1"),
            ),
            None => Ok(frame),
        }
    }

    fn turns(&self, item: &Item) -> Vec<&'static str> {
        let mut turns = Vec::new();
        for property in self.properties(item) {
            let value = self.body(property).first().copied().unwrap_or(0);
            match (&property.kind, value & 3) {
                (b"irot", 1) => turns.push("transpose=cclock"),
                (b"irot", 2) => turns.extend(["hflip", "vflip"]),
                (b"irot", 3) => turns.push("transpose=clock"),
                // The axis is what the picture is folded along.
                (b"imir", value) if value & 1 == 0 => turns.push("vflip"),
                (b"imir", _) => turns.push("hflip"),
                _ => {}
            }
        }
        turns
    }

    fn profile(&self, item: &Item) -> Option<Vec<u8>> {
        let colours = self.properties(item).filter(|one| one.kind == *b"colr");
        colours
            .map(|one| self.body(one))
            .find_map(|body| {
                let profile = body.strip_prefix(b"prof").or(body.strip_prefix(b"rICC"))?;
                Some(profile.to_vec())
            })
            .filter(|profile| !profile.is_empty())
    }

    /// Code points of H.273, which win over the coded picture's own.
    fn colour(&self, item: &Item, own: Colour) -> Option<Colour> {
        let colours = self.properties(item).filter(|one| one.kind == *b"colr");
        colours
            .map(|one| self.body(one))
            .find_map(|body| {
                let mut fields = Fields(body.strip_prefix(b"nclx")?);
                let stated = Colour {
                    primaries: fields.short()?,
                    transfer: fields.short()?,
                    space: fields.short()?,
                    range: if fields.number(1)? & 0x80 == 0 {
                        Colour::LIMITED_RANGE.range
                    } else {
                        Colour::FULL_RANGE.range
                    },
                };
                Some(stated)
            })
            .filter(|_| !matches!(item.kind, [b'g', ..] | [b'i', ..]) || own != Colour::UNSPECIFIED)
    }
}

/// A still that says nothing of its matrix has BT.601's, as JPEG's have.
pub(crate) fn as_still(colour: Colour) -> Colour {
    if colour.space == Colour::UNSPECIFIED.space {
        Colour {
            space: Colour::JPEG.space,
            ..colour
        }
    } else {
        colour
    }
}

fn paste(tile: &Frame, canvas: &mut Frame, left: usize, top: usize) {
    const BYTES: usize = 4;
    let (width, height) = (canvas.width() as usize, canvas.height() as usize);
    let columns = (tile.width() as usize).min(width.saturating_sub(left));
    let rows = (tile.height() as usize).min(height.saturating_sub(top));
    let (Some((from, from_stride)), Some((to, to_stride))) = (tile.plane(0), canvas.plane_mut(0))
    else {
        return;
    };
    for row in 0..rows {
        let source = &from[row * from_stride..][..columns * BYTES];
        let at = (top + row) * to_stride + left * BYTES;
        to[at..at + columns * BYTES].copy_from_slice(source);
    }
}

impl Meta {
    /// The item of this number, new where it is; `None` where there are too many.
    fn item(&mut self, id: u32) -> Option<&mut Item> {
        if self.items.len() >= MAX_ITEMS && !self.items.contains_key(&id) {
            return None;
        }
        let fresh = || Item {
            id,
            ..Item::default()
        };
        Some(self.items.entry(id).or_insert_with(fresh))
    }
}

fn id(fields: &mut Fields<'_>, long: bool) -> Option<u32> {
    if long { fields.long() } else { fields.short() }
}

/// `clap` (ISO/IEC 14496-12, 12.1.4) as columns, rows, left and top; `None` where it is no part of
/// such a picture, or all of it.
fn clean_aperture(body: &[u8], width: u32, height: u32) -> Option<[u32; 4]> {
    let mut fields = Fields(body);
    let mut side = || {
        let (numerator, denominator) = (fields.long()?, fields.long()?);
        // Parts of a pixel are not shown.
        numerator.checked_div(denominator)
    };
    let (part_width, part_height) = (side()?, side()?);
    // From the middle of the whole to the middle of the part.
    let mut start = |whole: u32, part: u32| {
        let (offset, unit) = (fields.long()? as i32, i64::from(fields.long()?));
        let twice = 2 * i64::from(offset) + i64::from(whole.checked_sub(part)?) * unit;
        let start = u32::try_from(twice.checked_div(2 * unit)?).ok()?;
        (start <= whole - part).then_some(start)
    };
    let (left, top) = (start(width, part_width)?, start(height, part_height)?);
    let some = part_width > 0 && part_height > 0 && (part_width, part_height) != (width, height);
    some.then_some([part_width, part_height, left, top])
}

/// `iloc` (ISO/IEC 14496-12, 8.11.3).
fn locations(mut fields: Fields<'_>, read: &mut Meta) -> Option<()> {
    let (version, _) = fields.version()?;
    let sizes = fields.short()?;
    let size = |shift: u32| ((sizes >> shift) & 15) as usize;
    let (offset_size, length_size, base_size) = (size(12), size(8), size(4));
    let index_size = if version > 0 { size(0) } else { 0 };
    let count = id(&mut fields, version > 1)? as usize;
    let mut left = MAX_EXTENTS;
    for _ in 0..count.min(MAX_ITEMS) {
        let id = id(&mut fields, version > 1)?;
        let method = if version > 0 { fields.short()? & 15 } else { 0 };
        fields.short()?;
        let base = fields.number(base_size)?;
        let extents = fields.short()? as usize;
        // They may be of no size in the file, so its end does not end them.
        left = left.checked_sub(extents)?;
        let mut found = Vec::new();
        for _ in 0..extents {
            fields.number(index_size)?;
            let offset = fields.number(offset_size)?;
            found.push((base.checked_add(offset)?, fields.number(length_size)?));
        }
        let item = read.item(id)?;
        item.in_data = method == 1;
        item.extents = found;
    }
    Some(())
}

/// `ipma`: which properties each item has.
fn associations(mut fields: Fields<'_>, read: &mut Meta) -> Option<()> {
    let (version, flags) = fields.version()?;
    let count = fields.long()? as usize;
    for _ in 0..count.min(MAX_ITEMS) {
        let id = id(&mut fields, version > 0)?;
        let count = fields.number(1)?;
        let numbers: Option<Vec<usize>> = (0..count)
            .map(|_| {
                let number = if flags & 1 == 1 {
                    fields.short()? & 0x7fff
                } else {
                    fields.number(1)? as u32 & 0x7f
                };
                Some(number as usize)
            })
            .collect();
        read.item(id)?.properties.extend(numbers?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [&size[..], kind, body].concat()
    }

    /// A file with one item of this kind, whose bytes are in `idat`.
    fn file(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let turned = [(boxed(b"irot", &[1]), 1)];
        file_of(&[(kind, data)], &turned, &[])
    }

    /// A file of such items, numbered from 1, whose bytes are in `idat`; each property is that of one
    /// item; what they refer to is in boxes.
    fn file_of(
        items: &[(&[u8; 4], &[u8])],
        properties: &[(Vec<u8>, u8)],
        references: &[Vec<u8>],
    ) -> Vec<u8> {
        let count = items.len() as u8;
        let mut infos = vec![0, 0, 0, 0, 0, count];
        let mut places = vec![1, 0, 0, 0, 0x44, 0, 0, count];
        let mut data = Vec::new();
        for (number, (kind, bytes)) in items.iter().enumerate() {
            let number = number as u8 + 1;
            let item = [&[2, 0, 0, 0, 0, number, 0, 0][..], *kind, b"\0"].concat();
            infos.extend(boxed(b"infe", &item));
            places.extend([0, number, 0, 1, 0, 0, 0, 1]);
            places.extend((data.len() as u32).to_be_bytes());
            places.extend((bytes.len() as u32).to_be_bytes());
            data.extend_from_slice(bytes);
        }
        let mut links = vec![0, 0, 0, 0, 0, 0, 0, properties.len() as u8];
        for (number, (_, item)) in properties.iter().enumerate() {
            links.extend([0, *item, 1, 0x81 + number as u8]);
        }
        let bodies: Vec<u8> = properties
            .iter()
            .flat_map(|(body, _)| body.clone())
            .collect();
        let properties = [boxed(b"ipco", &bodies), boxed(b"ipma", &links)].concat();
        let meta = [
            vec![0; 4],
            boxed(b"pitm", &[0, 0, 0, 0, 0, 1]),
            boxed(b"iinf", &infos),
            boxed(b"iloc", &places),
            boxed(b"iref", &[&[0; 4][..], &references.concat()].concat()),
            boxed(b"iprp", &properties),
            boxed(b"idat", &data),
        ]
        .concat();
        [boxed(b"ftyp", b"mif1\0\0\0\0"), boxed(b"meta", &meta)].concat()
    }

    fn read(bytes: &[u8]) -> Result<Still> {
        still(bytes, &Arc::from("picture"), Limits::default())
    }

    #[test]
    fn an_item_is_found_decoded_and_turned() {
        let mut frame = Frame::video(32, 16, PixelFormat::YUVJ420P).unwrap();
        frame.set_colour(Colour::JPEG);
        let jpeg = crate::jpeg(&frame, 3).unwrap();
        let bytes = file(b"jpeg", &jpeg);
        assert!(is_still(&bytes));
        let found = read(&bytes).unwrap();
        assert_eq!((found.frame.width(), found.frame.height()), (32, 16));
        assert_eq!(found.turns, ["transpose=cclock"]);
    }

    #[test]
    fn a_part_is_shown_as_opaque_as_another_picture_says() {
        let jpeg = |shade: u8| {
            let mut frame = Frame::video(32, 16, PixelFormat::YUVJ420P).unwrap();
            frame.set_colour(Colour::JPEG);
            for plane in 0..3 {
                frame.plane_mut(plane).unwrap().0.fill(128);
            }
            frame.plane_mut(0).unwrap().0.fill(shade);
            crate::jpeg(&frame, 2).unwrap()
        };
        let numbers = |numbers: &[i32]| -> Vec<u8> {
            numbers
                .iter()
                .flat_map(|number| number.to_be_bytes())
                .collect()
        };
        let kind = [
            &[0; 4][..],
            b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
        ]
        .concat();
        let clap = numbers(&[20, 1, 8, 1, 2, 1, -1, 1]);
        let properties = [(boxed(b"clap", &clap), 1), (boxed(b"auxC", &kind), 2)];
        for premultiplied in [false, true] {
            let mut references = vec![boxed(b"auxl", &[0, 2, 0, 1, 0, 1])];
            if premultiplied {
                references.push(boxed(b"prem", &[0, 1, 0, 1, 0, 2]));
            }
            let (shown, alpha) = (jpeg(200), jpeg(64));
            let items = [(b"jpeg", &shown[..]), (b"jpeg", &alpha[..])];
            let found = read(&file_of(&items, &properties, &references)).unwrap();
            assert_eq!((found.frame.width(), found.frame.height()), (20, 8));
            let alpha = found.alpha.unwrap();
            assert_eq!((alpha.frame.width(), alpha.frame.height()), (20, 8));
            assert_eq!(alpha.premultiplied, premultiplied);
            assert_eq!(alpha.frame.plane(0).unwrap().0[0], 64);
        }
    }

    #[test]
    fn parts_of_pictures() {
        let rows = [
            ([20, 1, 8, 1, 0, 1, 0, 1], Some([20, 8, 6, 4])),
            ([20, 1, 8, 1, 6, 1, -4, 1], Some([20, 8, 12, 0])),
            ([41, 2, 8, 1, 1, 2, 0, 1], Some([20, 8, 6, 4])),
            ([32, 1, 16, 1, 0, 1, 0, 1], None),
            ([20, 1, 8, 1, 7, 1, 0, 1], None),
            ([20, 1, 8, 1, 0, 1, -5, 1], None),
            ([40, 1, 8, 1, 0, 1, 0, 1], None),
            ([0, 1, 8, 1, 0, 1, 0, 1], None),
            ([20, 0, 8, 1, 0, 1, 0, 1], None),
            ([20, 1, 8, 1, 0, 0, 0, 1], None),
            ([20, 1, 8, 1, i32::MIN, 1, 0, 1], None),
        ];
        for (fields, expected) in rows {
            let body: Vec<u8> = fields
                .iter()
                .flat_map(|field: &i32| field.to_be_bytes())
                .collect();
            assert_eq!(clean_aperture(&body, 32, 16), expected, "{fields:?}");
            assert_eq!(clean_aperture(&body[..body.len() - 1], 32, 16), None);
        }
    }

    #[test]
    fn what_is_damaged_is_an_error_and_no_panic() {
        let rows = [
            (b"jpeg", &b""[..], "a picture without bytes"),
            (
                b"grid",
                b"\0\0\x01\x01\0\x10\0\x10",
                "without all of its tiles",
            ),
            (b"grid", b"\0", "a grid without a size"),
            (b"iden", b"x", "is not there"),
            (b"unci", b"x", "unsupported codec: HEIF item unci"),
        ];
        for (kind, data, expected) in rows {
            let said = read(&file(kind, data)).err().unwrap().to_string();
            assert!(said.contains(expected), "{said}");
        }
        let whole = file(b"grid", b"\0\0\0\0\0\x10\0\x10");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = read(&changed);
            }
        }
    }
}
