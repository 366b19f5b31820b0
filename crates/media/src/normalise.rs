//! From what a file holds to what every screen shows: filter chains for one stream.
//!
//! Video comes out progressive, upright and in standard dynamic range, in its stored size, pixel
//! shape and sample format (scaling and depth are the scaler's). Audio comes out as stereo float
//! without gaps, from time zero on.

use ffmpeg_sys_the_third::AVFieldOrder;

use crate::colour::Colour;
use crate::graph::has_filter;
use crate::stream::{Kind, Orientation, Stream};

/// What happens to a stream's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourTreatment {
    /// Standard dynamic range stays as it is.
    Unchanged,
    /// High dynamic range is mapped to BT.709.
    ToneMapped,
    /// High dynamic range stays, labelled as such, because this FFmpeg lacks zscale or tonemap:
    /// screens that cannot show it will look pale.
    HdrKept,
}

/// A description for [`Graph::video`](crate::Graph::video).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoChain {
    /// FFmpeg's filter syntax; "null" when nothing is to be done.
    pub description: String,
    /// What happens to the colours.
    pub colour: ColourTreatment,
    /// Whether two fields are joined to one frame.
    pub deinterlaces: bool,
}

impl VideoChain {
    /// The chain that a stream needs.
    pub fn for_stream(stream: &Stream) -> Self {
        let mut filters = Vec::new();
        let deinterlacer = deinterlace(stream);
        filters.extend(deinterlacer.clone());
        let colour = treatment(stream);
        if colour == ColourTreatment::ToneMapped {
            filters.push(tone_map(stream));
        }
        filters.extend(orient(stream.orientation).into_iter().map(str::to_owned));
        let description = if filters.is_empty() {
            "null".to_owned()
        } else {
            filters.join(",")
        };
        Self {
            description,
            colour,
            deinterlaces: deinterlacer.is_some(),
        }
    }

    /// Whether frames can go round the graph.
    pub fn is_identity(&self) -> bool {
        self.description == "null"
    }
}

/// A description for [`Graph::audio`](crate::Graph::audio).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioChain {
    /// FFmpeg's filter syntax.
    pub description: String,
    /// Samples per second that come out.
    pub sample_rate: u32,
}

impl AudioChain {
    /// Stereo planar float at `sample_rate`. Frames' times must count from the moment that is to
    /// be zero: sound before it is cut, silence is put in where sound starts later or pauses.
    pub fn stereo(sample_rate: u32) -> Self {
        Self::of_layout(sample_rate, "stereo")
    }

    /// The same in any layout, by FFmpeg's name.
    pub(crate) fn of_layout(sample_rate: u32, layout: &str) -> Self {
        // async=1 fills and trims and never stretches; first_pts is in output samples.
        let description = format!(
            "aresample={sample_rate}:async=1:first_pts=0:min_hard_comp=0.05,\
             aformat=sample_fmts=fltp:sample_rates={sample_rate}:channel_layouts={layout}"
        );
        Self {
            description,
            sample_rate,
        }
    }

    /// As [`AudioChain::stereo`], at 44.1 kHz for sources of that family (44.1, 22.05, 11.025,
    /// 88.2 kHz), else 48 kHz.
    pub fn for_stream(stream: &Stream) -> Self {
        let rate = stream.parameters.sample_rate().unwrap_or(48_000);
        Self::stereo(if rate % 11_025 == 0 { 44_100 } else { 48_000 })
    }
}

fn is_interlaced(stream: &Stream) -> bool {
    // Deinterlacers need three rows in each plane.
    let deep_enough = stream.width() >= 8 && stream.height() >= 8;
    let order = stream.parameters.raw().field_order;
    let fields = matches!(
        order,
        AVFieldOrder::TT | AVFieldOrder::BB | AVFieldOrder::TB | AVFieldOrder::BT
    );
    stream.kind == Kind::Video && deep_enough && fields
}

/// One frame out per frame in; frames that the decoder marks as progressive pass untouched.
pub(crate) fn deinterlace(stream: &Stream) -> Option<String> {
    ["bwdif", "yadif"]
        .into_iter()
        .find(|filter| is_interlaced(stream) && has_filter(filter))
        .map(|filter| format!("{filter}=mode=send_frame:parity=auto:deint=interlaced"))
}

pub(crate) fn treatment(stream: &Stream) -> ColourTreatment {
    if !stream.parameters.colour().is_hdr() {
        ColourTreatment::Unchanged
    } else if can_tone_map() {
        ColourTreatment::ToneMapped
    } else {
        ColourTreatment::HdrKept
    }
}

pub(crate) fn can_tone_map() -> bool {
    has_filter("zscale") && has_filter("tonemap")
}

/// Linear light in float, compressed by Hable's curve, BT.709 out. What the stream leaves
/// unspecified is BT.2020, as BT.2100 says.
pub(crate) fn tone_map(stream: &Stream) -> String {
    tone_map_of(stream.parameters.colour())
}

pub(crate) fn tone_map_of(colour: Colour) -> String {
    let transfer = if colour.is_hlg() {
        "arib-std-b67"
    } else {
        "smpte2084"
    };
    let primaries = colour.primaries().unwrap_or("bt2020");
    let matrix = match colour.space() {
        Some("bt709") => "709",
        Some("bt2020c") => "2020_cl",
        _ => "2020_ncl",
    };
    let primaries = if primaries == "bt709" { "709" } else { "2020" };
    let range = if colour.is_full_range() {
        "full"
    } else {
        "limited"
    };
    format!(
        "zscale=tin={transfer}:pin={primaries}:min={matrix}:rin={range}:t=linear:npl=100,\
         format=gbrpf32le,zscale=p=709,tonemap=tonemap=hable:desat=0,\
         zscale=t=709:m=709:r=limited,format=yuv420p"
    )
}

/// Mirroring first, then turning.
pub(crate) fn orient(orientation: Orientation) -> Vec<&'static str> {
    let mut filters = Vec::new();
    if orientation.mirrored {
        filters.push("hflip");
    }
    match orientation.rotation {
        90 => filters.push("transpose=clock"),
        180 => filters.extend(["hflip", "vflip"]),
        270 => filters.push("transpose=cclock"),
        _ => {}
    }
    filters
}
