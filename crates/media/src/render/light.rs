//! How bright a picture in high dynamic range was meant: the display that it was mastered on (SMPTE ST
//! 2086) and how bright it gets (CTA-861.3). It goes over as libav has it, and in x265's words.

use ffmpeg_sys_the_third as sys;

use crate::frame::Frame;
use crate::stream::{SideData, Stream};

/// What is known of a video's light; nothing where it says nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Light {
    /// `AVMasteringDisplayMetadata`: ten fractions and two flags.
    display: Option<Vec<u8>>,
    /// `AVContentLightMetadata`: two numbers.
    level: Option<Vec<u8>>,
}

impl Light {
    /// By a picture's own word, else by its container's.
    pub fn of(frame: &Frame, stream: &Stream) -> Self {
        let either = |own, stated| {
            let stated = SideData::find(&stream.side_data, stated);
            frame.side_data(own).or_else(|| stated.map(<[u8]>::to_vec))
        };
        Self {
            display: either(
                sys::AVFrameSideDataType::MASTERING_DISPLAY_METADATA,
                sys::AVPacketSideDataType::MASTERING_DISPLAY_METADATA,
            ),
            level: either(
                sys::AVFrameSideDataType::CONTENT_LIGHT_LEVEL,
                sys::AVPacketSideDataType::CONTENT_LIGHT_LEVEL,
            ),
        }
    }

    /// For a container.
    pub fn side_data(&self) -> Vec<SideData> {
        let kinds = [
            (
                sys::AVPacketSideDataType::MASTERING_DISPLAY_METADATA,
                &self.display,
            ),
            (sys::AVPacketSideDataType::CONTENT_LIGHT_LEVEL, &self.level),
        ];
        let known = kinds
            .into_iter()
            .filter_map(|(kind, bytes)| Some(SideData::new(kind, bytes.clone()?)));
        known.collect()
    }

    /// x265's parameters; empty where nothing is known.
    pub fn x265(&self) -> String {
        let display = self.display.as_deref().and_then(master_display);
        let level = self.level.as_deref().and_then(|bytes| {
            let numbers = numbers(bytes);
            let [brightest, average] = *numbers.first_chunk()?;
            Some(format!("max-cll={brightest},{average}"))
        });
        let known: Vec<String> = display.into_iter().chain(level).collect();
        known.join(":")
    }
}

fn numbers(bytes: &[u8]) -> Vec<i32> {
    let words = bytes.chunks_exact(4);
    words
        .filter_map(|word| Some(i32::from_ne_bytes(*word.first_chunk()?)))
        .collect()
}

/// Chromaticities in steps of 0.00002, luminances in steps of 0.0001 candela (ITU-T H.265, D.3.28).
fn master_display(bytes: &[u8]) -> Option<String> {
    let numbers = numbers(bytes);
    let flags = numbers.get(20..22)?;
    if flags.contains(&0) {
        return None;
    }
    let steps = |place: usize, unit: f64| {
        let (part, whole) = (numbers[2 * place], numbers[2 * place + 1]);
        let value = f64::from(part) / f64::from(whole) * unit;
        (0.0..=f64::from(u32::MAX))
            .contains(&value)
            .then(|| value.round() as u32)
    };
    let point = |place| Some((steps(place, 50_000.0)?, steps(place + 1, 50_000.0)?));
    let ((rx, ry), (gx, gy), (bx, by)) = (point(0)?, point(2)?, point(4)?);
    let (wx, wy) = point(6)?;
    let (darkest, brightest) = (steps(8, 10_000.0)?, steps(9, 10_000.0)?);
    Some(format!(
        "master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({brightest},{darkest})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_words_of_x265() {
        let bytes = |numbers: &[i32]| -> Vec<u8> {
            numbers
                .iter()
                .flat_map(|number| number.to_ne_bytes())
                .collect()
        };
        let points = [
            34_000, 50_000, 16_000, 50_000, 13_250, 50_000, 34_500, 50_000, 7_500, 50_000, 3_000,
            50_000, 15_635, 50_000, 16_450, 50_000, 50, 10_000, 10_000_000, 10_000,
        ];
        let display = |flags: [i32; 2]| Some(bytes(&[&points[..], &flags].concat()));
        let known = Light {
            display: display([1, 1]),
            level: Some(bytes(&[1000, 400])),
        };
        assert_eq!(
            known.x265(),
            "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)\
             L(10000000,50):max-cll=1000,400"
        );
        for (display, level) in [
            (display([0, 1]), None),
            (Some(bytes(&points[..7])), Some(bytes(&[1]))),
            (Some(bytes(&[0; 22])), None),
            (
                Some(bytes(&[&[1, 0][..], &points[2..], &[1, 1]].concat())),
                None,
            ),
        ] {
            assert_eq!(Light { display, level }.x265(), "");
        }
    }
}
