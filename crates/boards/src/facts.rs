//! What is known about a file: the probe's JSON, read leniently.
//!
//! `kinora probe FILE --json` writes this shape. A field that is missing or null is unknown, a
//! field not listed here is ignored, and a zero where only a positive number has a meaning
//! (FFmpeg's way of saying "not set") is unknown as well. Codec, profile, pixel format and
//! colour names are FFmpeg's.

use serde::{Deserialize, Deserializer};

use crate::Rate;

/// A probed file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// A still picture, whatever reads it.
    pub picture: bool,
    /// FFmpeg's demuxer name, such as `mov,mp4,m4a,3gp,3g2,mj2`: one family, not six.
    pub container: Option<String>,
    /// Video streams in file order, cover pictures included.
    #[serde(deserialize_with = "list")]
    pub video: Vec<Video>,
    /// Audio streams in file order.
    #[serde(deserialize_with = "list")]
    pub audio: Vec<Audio>,
    /// Subtitle streams in file order.
    #[serde(deserialize_with = "list")]
    pub subtitles: Vec<Subtitle>,
}

/// One video stream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Video {
    /// Codec name.
    pub codec: Option<String>,
    /// Profile name.
    pub profile: Option<String>,
    /// Width in pixels as the decoder gives it out, before rotation.
    #[serde(deserialize_with = "positive")]
    pub width: Option<u32>,
    /// Height in pixels as the decoder gives it out, before rotation.
    #[serde(deserialize_with = "positive")]
    pub height: Option<u32>,
    /// Frames per second.
    #[serde(deserialize_with = "rate")]
    pub fps: Option<Rate>,
    /// Whether the rate varies; `fps` is its average then.
    pub variable_rate: bool,
    /// Shape of one pixel as `num/den`.
    pub sample_aspect: Option<String>,
    /// Degrees clockwise to turn the picture for display: 0, 90, 180 or 270.
    pub rotation: Option<i32>,
    /// Pixel format.
    pub pix_fmt: Option<String>,
    /// Bits per sample.
    #[serde(deserialize_with = "positive")]
    pub bit_depth: Option<u32>,
    /// Chroma subsampling, such as `4:2:0`.
    pub chroma: Option<String>,
    /// `progressive`, or the order of the fields: `tt`, `bb`, `tb`, `bt`.
    pub field_order: Option<String>,
    /// Transfer characteristics, such as `smpte2084`.
    pub color_transfer: Option<String>,
    /// A picture that came along, such as an album cover: not the video.
    pub attached_picture: bool,
}

/// One audio stream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Audio {
    /// Codec name.
    pub codec: Option<String>,
}

/// One subtitle stream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Subtitle {
    /// Codec name.
    pub codec: Option<String>,
}

impl Facts {
    /// The stream a player shows: the first video stream that is not a cover picture.
    pub fn main_video(&self) -> Option<&Video> {
        self.video.iter().find(|video| !video.attached_picture)
    }
}

impl Video {
    /// Width and height, where both are known.
    pub fn size(&self) -> Option<(u32, u32)> {
        Some((
            self.width.filter(|&side| side > 0)?,
            self.height.filter(|&side| side > 0)?,
        ))
    }

    /// Whether the picture stands on its side in the file, so that display swaps its dimensions.
    pub fn is_turned(&self) -> bool {
        self.rotation
            .is_some_and(|degrees| degrees.rem_euclid(180) == 90)
    }
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number: Option<i64> = Option::deserialize(deserializer)?;
    Ok(number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|&number| number > 0))
}

/// FFmpeg writes `0/0` for a rate it does not know, so what is not a rate is unknown.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Facts {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn missing_null_and_unset_are_all_unknown() {
        for json in [
            r#"{"video":[{}]}"#,
            r#"{"video":[{"width":null,"height":null,"fps":null,"codec":null,"rotation":null}],"audio":null}"#,
            r#"{"video":[{"width":0,"height":-1,"fps":"0/0","bit_depth":0}],"duration_s":1.5,"later":{"a":[1]}}"#,
        ] {
            assert_eq!(read(json).video, [Video::default()], "{json}");
        }
        assert_eq!(read("{}"), Facts::default());
    }

    #[test]
    fn a_cover_picture_is_not_the_video() {
        let facts =
            read(r#"{"video":[{"codec":"mjpeg","attached_picture":true},{"codec":"h264"}]}"#);
        assert_eq!(
            facts.main_video().and_then(|video| video.codec.as_deref()),
            Some("h264")
        );
        assert_eq!(
            read(r#"{"video":[{"attached_picture":true}]}"#).main_video(),
            None
        );
    }

    #[test]
    fn quarter_turns_swap_the_sides() {
        for (degrees, turned) in [
            (0, false),
            (90, true),
            (180, false),
            (270, true),
            (-90, true),
            (45, false),
        ] {
            let video = Video {
                rotation: Some(degrees),
                ..Video::default()
            };
            assert_eq!(video.is_turned(), turned, "{degrees}");
        }
    }
}
