//! Scaling lists: syntax (7.3.2.1.1.1), fall-back rules (Table 7-2) and scan (8.5.6).

use super::controls::ScalingMatrix;
use super::{Error, Fields, within};
use crate::bits::BitWriter;

/// A scaling list as a parameter set sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingList<const N: usize> {
    /// Not sent: a fall-back rule of Table 7-2 applies.
    #[default]
    Absent,
    /// `UseDefaultScalingMatrixFlag`.
    UseDefault,
    /// The values in zig-zag order, each 1 to 255.
    Values([u8; N]),
}

/// The scaling lists of one parameter set, in the order of Table 7-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScalingLists {
    /// Lists 0 to 5.
    pub lists_4x4: [ScalingList<16>; 6],
    /// Lists 6 to 11.
    pub lists_8x8: [ScalingList<64>; 6],
}

impl ScalingLists {
    /// Reads six 4x4 lists and `count_8x8` 8x8 lists, each behind its flag.
    pub(super) fn parse(fields: &mut Fields<'_>, count_8x8: usize) -> Result<Self, Error> {
        let mut lists = ScalingLists::default();
        for list in &mut lists.lists_4x4 {
            *list = parse_list(fields)?;
        }
        for list in &mut lists.lists_8x8[..count_8x8] {
            *list = parse_list(fields)?;
        }
        Ok(lists)
    }

    /// The matrix that applies to a picture (7.4.2.1.1, 7.4.2.2), `None` for the flat one.
    pub fn apply(sps: Option<&ScalingLists>, pps: Option<&ScalingLists>) -> Option<ScalingMatrix> {
        let of_sps = sps.map(|lists| lists.matrix(&DEFAULT));
        match pps {
            // Fall-back rule set B where the SPS has lists, set A where it has none.
            Some(lists) => Some(lists.matrix(of_sps.as_ref().unwrap_or(&DEFAULT))),
            None => of_sps,
        }
    }

    /// The lists in raster order. An absent list takes the one ahead of it of its kind, and the
    /// first of a kind that of `fall_back`.
    fn matrix(&self, fall_back: &ScalingMatrix) -> ScalingMatrix {
        let mut matrix = ScalingMatrix::FLAT;
        for (index, list) in self.lists_4x4.iter().enumerate() {
            matrix.scaling_list_4x4[index] = match list {
                ScalingList::Values(values) => to_raster(values, &ZIGZAG_4X4),
                ScalingList::UseDefault => DEFAULT.scaling_list_4x4[index],
                ScalingList::Absent if index % 3 == 0 => fall_back.scaling_list_4x4[index],
                ScalingList::Absent => matrix.scaling_list_4x4[index - 1],
            };
        }
        for (index, list) in self.lists_8x8.iter().enumerate() {
            matrix.scaling_list_8x8[index] = match list {
                ScalingList::Values(values) => to_raster(values, &ZIGZAG_8X8),
                ScalingList::UseDefault => DEFAULT.scaling_list_8x8[index],
                ScalingList::Absent if index < 2 => fall_back.scaling_list_8x8[index],
                ScalingList::Absent => matrix.scaling_list_8x8[index - 2],
            };
        }
        matrix
    }
}

/// `scaling_list_present_flag` and `scaling_list()`.
fn parse_list<const N: usize>(fields: &mut Fields<'_>) -> Result<ScalingList<N>, Error> {
    if !fields.flag("scaling_list_present_flag")? {
        return Ok(ScalingList::Absent);
    }
    let mut values = [0; N];
    let mut last = 8_u8;
    for index in 0..N {
        let delta = fields.se("delta_scale", -128, 127)?;
        let next = last.wrapping_add(delta as u8);
        if next == 0 {
            if index == 0 {
                return Ok(ScalingList::UseDefault);
            }
            values[index..].fill(last);
            break;
        }
        values[index] = next;
        last = next;
    }
    Ok(ScalingList::Values(values))
}

impl ScalingMatrix {
    /// Writes all 4x4 lists and the first `count_8x8` 8x8 lists, each with its flag and all its
    /// values, so that no fall-back rule applies. The values of the other lists do not matter.
    pub(super) fn write(&self, writer: &mut BitWriter, count_8x8: usize) -> Result<(), Error> {
        for list in &self.scaling_list_4x4 {
            write_list(writer, list, &ZIGZAG_4X4)?;
        }
        for list in &self.scaling_list_8x8[..count_8x8] {
            write_list(writer, list, &ZIGZAG_8X8)?;
        }
        Ok(())
    }
}

fn write_list<const N: usize>(
    writer: &mut BitWriter,
    raster: &[u8; N],
    scan: &[u8; N],
) -> Result<(), Error> {
    writer.flag(true);
    let mut last = 8_u8;
    for &place in scan {
        let value = raster[usize::from(place)];
        // A 0 would end the list and repeat the value ahead of it.
        within("ScalingList", value.into(), 1, 255)?;
        writer.se(i32::from(value.wrapping_sub(last) as i8));
        last = value;
    }
    Ok(())
}

/// Scaling lists are scanned in zig-zag order for fields too (8.5.6).
const fn to_raster<const N: usize>(values: &[u8; N], scan: &[u8; N]) -> [u8; N] {
    let mut raster = [0; N];
    let mut index = 0;
    while index < N {
        raster[scan[index] as usize] = values[index];
        index += 1;
    }
    raster
}

/// Raster place of each value of a zig-zag scan (Figure 8-8, Table 8-12).
const ZIGZAG_4X4: [u8; 16] = zigzag(4);

/// As [`ZIGZAG_4X4`] (Figure 8-9, Table 8-13).
const ZIGZAG_8X8: [u8; 64] = zigzag(8);

/// Diagonals from the upper left corner, the first one upwards to the right, each turning where the
/// last one ended.
const fn zigzag<const N: usize>(side: usize) -> [u8; N] {
    let mut scan = [0; N];
    let (mut x, mut y, mut index) = (0, 0, 0);
    while index < N {
        scan[index] = (y * side + x) as u8;
        let upwards = (x + y) % 2 == 0;
        if upwards && x == side - 1 || !upwards && y < side - 1 && x == 0 {
            y += 1;
        } else if !upwards && y == side - 1 || upwards && y == 0 {
            x += 1;
        } else if upwards {
            x += 1;
            y -= 1;
        } else {
            x -= 1;
            y += 1;
        }
        index += 1;
    }
    scan
}

/// `Default_*` lists (Tables 7-3 and 7-4), in raster order.
const DEFAULT: ScalingMatrix = {
    let (intra_4x4, inter_4x4) = (
        to_raster(&INTRA_4X4, &ZIGZAG_4X4),
        to_raster(&INTER_4X4, &ZIGZAG_4X4),
    );
    let (intra_8x8, inter_8x8) = (
        to_raster(&INTRA_8X8, &ZIGZAG_8X8),
        to_raster(&INTER_8X8, &ZIGZAG_8X8),
    );
    ScalingMatrix {
        scaling_list_4x4: [
            intra_4x4, intra_4x4, intra_4x4, inter_4x4, inter_4x4, inter_4x4,
        ],
        scaling_list_8x8: [
            intra_8x8, inter_8x8, intra_8x8, inter_8x8, intra_8x8, inter_8x8,
        ],
    }
};

// In zig-zag order and one diagonal a line, as Tables 7-3 and 7-4 have them.
#[rustfmt::skip]
const INTRA_4X4: [u8; 16] = [6, 13, 13, 20, 20, 20, 28, 28, 28, 28, 32, 32, 32, 37, 37, 42];
#[rustfmt::skip]
const INTER_4X4: [u8; 16] = [10, 14, 14, 20, 20, 20, 24, 24, 24, 24, 27, 27, 27, 30, 30, 34];
#[rustfmt::skip]
const INTRA_8X8: [u8; 64] = [
    6,
    10, 10,
    13, 11, 13,
    16, 16, 16, 16,
    18, 18, 18, 18, 18,
    23, 23, 23, 23, 23, 23,
    25, 25, 25, 25, 25, 25, 25,
    27, 27, 27, 27, 27, 27, 27, 27,
    29, 29, 29, 29, 29, 29, 29,
    31, 31, 31, 31, 31, 31,
    33, 33, 33, 33, 33,
    36, 36, 36, 36,
    38, 38, 38,
    40, 40,
    42,
];
#[rustfmt::skip]
const INTER_8X8: [u8; 64] = [
    9,
    13, 13,
    15, 13, 15,
    17, 17, 17, 17,
    19, 19, 19, 19, 19,
    21, 21, 21, 21, 21, 21,
    22, 22, 22, 22, 22, 22, 22,
    24, 24, 24, 24, 24, 24, 24, 24,
    25, 25, 25, 25, 25, 25, 25,
    27, 27, 27, 27, 27, 27,
    28, 28, 28, 28, 28,
    30, 30, 30, 30,
    32, 32, 32,
    33, 33,
    35,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_is_that_of_figure_8_8() {
        assert_eq!(
            ZIGZAG_4X4,
            [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15]
        );
        // Figure 8-9: where the diagonals begin to turn at the other sides.
        assert_eq!(
            ZIGZAG_8X8[26..38],
            [13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50]
        );
        assert_eq!(ZIGZAG_8X8[61..], [55, 62, 63]);
    }

    /// Fall-back rules A and B, `UseDefault` and lists that repeat the one ahead of them.
    #[test]
    fn absent_lists_fall_back_by_table_7_2() {
        let mut sps = ScalingLists::default();
        sps.lists_4x4[1] = ScalingList::Values([7; 16]);
        sps.lists_4x4[4] = ScalingList::UseDefault;
        sps.lists_8x8[1] = ScalingList::Values([9; 64]);
        let of_sps = ScalingLists::apply(Some(&sps), None).unwrap();
        let (intra, inter) = (DEFAULT.scaling_list_4x4[0], DEFAULT.scaling_list_4x4[3]);
        assert_eq!(
            of_sps.scaling_list_4x4,
            [intra, [7; 16], [7; 16], inter, inter, inter]
        );
        assert_eq!(of_sps.scaling_list_8x8[0], DEFAULT.scaling_list_8x8[0]);
        assert_eq!(of_sps.scaling_list_8x8[5], [9; 64]);

        let mut pps = ScalingLists::default();
        pps.lists_4x4[5] = ScalingList::Values([3; 16]);
        sps.lists_4x4[0] = ScalingList::Values([5; 16]);
        let both = ScalingLists::apply(Some(&sps), Some(&pps)).unwrap();
        assert_eq!(
            both.scaling_list_4x4,
            [[5; 16], [5; 16], [5; 16], inter, inter, [3; 16]]
        );
        assert_eq!(both.scaling_list_8x8[1], [9; 64]);
        let alone = ScalingLists::apply(None, Some(&pps)).unwrap();
        assert_eq!(alone.scaling_list_4x4[2], intra);
        assert_eq!(ScalingLists::apply(None, None), None);
    }
}
