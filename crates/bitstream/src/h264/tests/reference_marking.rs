//! What is held when, row by row: each scenario is a list of pictures, and beside each the references
//! that a decoder holds while it decodes it, worked out by hand from 8.2.4.1 and 8.2.5. And the order
//! counts of 8.2.1.

use crate::h264::*;
use crate::list::List;

/// A picture, by its slice header.
#[derive(Clone)]
struct Coded(SliceHeader);

fn picture(frame_num: u16) -> Coded {
    let mut slice = super::super::slice::empty(NalHeader {
        ref_idc: 1,
        unit_type: 1,
    });
    slice.frame_num = frame_num;
    slice.marking = Marking::SlidingWindow;
    Coded(slice)
}

/// `frame(3)`, `top(3)`, `bottom(3)`: reference pictures of this `frame_num`.
fn frame(frame_num: u16) -> Coded {
    picture(frame_num)
}

fn top(frame_num: u16) -> Coded {
    let mut coded = picture(frame_num);
    coded.0.field_pic = true;
    coded
}

fn bottom(frame_num: u16) -> Coded {
    let mut coded = top(frame_num);
    coded.0.bottom_field = true;
    coded
}

impl Coded {
    fn idr(mut self, long_term_reference: bool) -> Self {
        self.0.nal.unit_type = 5;
        self.0.marking = Marking::Idr {
            no_output_of_prior_pics: false,
            long_term_reference,
        };
        self
    }

    fn no_reference(mut self) -> Self {
        self.0.nal.ref_idc = 0;
        self.0.marking = Marking::None;
        self
    }

    fn marks(mut self, operations: &[Mmco]) -> Self {
        self.0.marking = Marking::Adaptive;
        self.0.operations = List::new();
        for &operation in operations {
            self.0.operations.push(operation).expect("few operations");
        }
        self
    }

    fn lsb(mut self, lsb: u16, delta_bottom: i32) -> Self {
        self.0.pic_order_cnt_lsb = lsb;
        self.0.delta_pic_order_cnt_bottom = delta_bottom;
        self
    }

    fn deltas(mut self, deltas: [i32; 2]) -> Self {
        self.0.delta_pic_order_cnt = deltas;
        self
    }
}

fn unmark(difference_of_pic_nums_minus1: u32) -> Mmco {
    Mmco::UnmarkShortTerm {
        difference_of_pic_nums_minus1,
    }
}

fn unmark_long(long_term_pic_num: u32) -> Mmco {
    Mmco::UnmarkLongTerm { long_term_pic_num }
}

fn make_long(difference_of_pic_nums_minus1: u32, long_term_frame_idx: u8) -> Mmco {
    Mmco::MakeLongTerm {
        difference_of_pic_nums_minus1,
        long_term_frame_idx,
    }
}

fn this_long(long_term_frame_idx: u8) -> Mmco {
    Mmco::CurrentLongTerm {
        long_term_frame_idx,
    }
}

fn max_idx(plus1: u8) -> Mmco {
    Mmco::MaxLongTermFrameIdx { plus1 }
}

/// Interlaced, 16 values of `frame_num`.
fn sps(max_num_ref_frames: u8) -> Sps {
    Sps {
        max_num_ref_frames,
        gaps_in_frame_num_value_allowed: true,
        frame_mbs_only: false,
        ..Sps::default()
    }
}

/// `S3` short-term frame of `frame_num` 3, `L1b` bottom field of long-term index 1, `N4` a frame that
/// was inferred.
fn shown(picture: &Picture) -> String {
    let name = |held: &Held| {
        let kind = match (held.non_existing, held.long_term) {
            (true, _) => "N",
            (false, true) => "L",
            (false, false) => "S",
        };
        let fields = ["?", "t", "b", ""][usize::from(held.fields)];
        format!("{kind}{}{fields}", held.frame_num)
    };
    picture.held.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn check(name: &str, max_num_ref_frames: u8, rows: &[(Coded, &str)]) {
    let sps = sps(max_num_ref_frames);
    let mut dpb = Dpb::new();
    for (at, (coded, held)) in rows.iter().enumerate() {
        let picture = dpb.decode(at as u64, &sps, &coded.0).expect(name);
        assert_eq!(shown(&picture), *held, "{name}: picture {at}");
        assert_eq!(picture.violation, None, "{name}: picture {at}");
    }
}

#[test]
fn frames_slide_and_gaps_are_filled() {
    check(
        "sliding window",
        2,
        &[
            (frame(0).idr(false), ""),
            (frame(1), "S0"),
            (frame(2).no_reference(), "S0 S1"),
            (frame(2), "S0 S1"),
            (frame(3), "S1 S2"),
            (frame(0).idr(false), ""),
            (frame(1), "S0"),
        ],
    );
    check(
        "gap (8.2.5.2)",
        3,
        &[
            (frame(0).idr(false), ""),
            (frame(1), "S0"),
            (frame(4), "S1 N2 N3"),
            (frame(5), "N2 N3 S4"),
            // Over the end of 16 and further than there is room.
            (frame(3), "N0 N1 N2"),
            // Pictures that are no reference have gaps before them too.
            (frame(6).no_reference(), "S3 N4 N5"),
            (frame(6), "S3 N4 N5"),
            (frame(7), "N4 N5 S6"),
        ],
    );
    check(
        "no reference allowed counts as one",
        0,
        &[
            (frame(0).idr(false), ""),
            (frame(1), "S0"),
            (frame(2), "S1"),
        ],
    );
    check(
        "a stream that starts in its middle has no gap",
        4,
        &[(frame(9), ""), (frame(10), "S9")],
    );
}

#[test]
fn operations_mark_frames() {
    check(
        "long-term frames",
        3,
        &[
            (frame(0).idr(false), ""),
            (frame(1), "S0"),
            (frame(2).marks(&[max_idx(2), make_long(1, 1)]), "S0 S1"),
            (frame(3).marks(&[unmark_long(1), this_long(0)]), "L1 S1 S2"),
            (frame(4).marks(&[max_idx(0)]), "S1 S2 L0"),
            (frame(5).marks(&[unmark(0)]), "S1 S2 S4"),
            (frame(6).marks(&[unmark(0), unmark(3)]), "S1 S2 S5"),
            (frame(7).marks(&[Mmco::UnmarkAll]), "S1 S6"),
            // frame_num starts from 0 again (7.4.3).
            (frame(1), "S0"),
            (frame(2).marks(&[Mmco::UnmarkAll, this_long(3)]), "S0 S1"),
            (frame(1), "L3"),
        ],
    );
    check(
        "a long-term index goes to who takes it last",
        4,
        &[
            (frame(0).idr(true), ""),
            (frame(1), "L0"),
            (frame(2), "L0 S1"),
            (frame(3).marks(&[make_long(1, 0)]), "L0 S1 S2"),
            (frame(4).marks(&[this_long(0)]), "L0 S2 S3"),
            (frame(5), "S2 S3 L0"),
        ],
    );
    check(
        "the window slides over short-term frames only, and over the end of frame_num",
        3,
        &[
            (frame(0).idr(true), ""),
            (frame(14).no_reference(), "L0 N12 N13"),
            (frame(14), "L0 N12 N13"),
            (frame(15), "L0 N13 S14"),
            (frame(0), "L0 S14 S15"),
            (frame(1), "L0 S15 S0"),
            (frame(2), "L0 S0 S1"),
        ],
    );
}

#[test]
fn fields_are_marked_one_by_one() {
    check(
        "a second field takes no place of its own and refers to its first",
        1,
        &[
            (top(0).idr(false), ""),
            (bottom(0), "S0t"),
            (top(1), "S0"),
            (bottom(1), "S1t"),
            (bottom(2), "S1"),
            (top(2), "S2b"),
            (frame(3), "S2"),
        ],
    );
    check(
        "operations name fields (8.2.4.1)",
        4,
        &[
            (top(0).idr(false), ""),
            (bottom(0), "S0t"),
            (top(1), "S0"),
            (bottom(1), "S0 S1t"),
            // CurrPicNum 5: the other parity of frame_num 1 is 2.
            (top(2).marks(&[unmark(2)]), "S0 S1"),
            (bottom(2).marks(&[unmark(2)]), "S0 S1t S2t"),
            // CurrPicNum 7: the same parity of frame_num 0 is 1.
            (top(3).marks(&[max_idx(2), make_long(5, 0)]), "S0 S2"),
            (bottom(3).marks(&[make_long(5, 0)]), "L0 S2 S3t"),
            // LongTermPicNum of the same parity is 1.
            (top(4).marks(&[unmark_long(1)]), "L0 S2 S3"),
            (bottom(4), "L0b S2 S3 S4t"),
            // The other parity of index 0 is 0; both fields of this frame get index 1.
            (
                top(5).marks(&[unmark_long(0), this_long(1)]),
                "L0b S2 S3 S4",
            ),
            (bottom(5).marks(&[this_long(1)]), "S2 S3 S4 L1t"),
            (frame(6), "S2 S3 S4 L1"),
            (frame(7), "S3 S4 L1 S6"),
        ],
    );
    check(
        "a second field may unmark its first",
        2,
        &[
            (frame(0).idr(false), ""),
            (top(1), "S0"),
            (bottom(1).marks(&[unmark(0)]), "S0 S1t"),
            (frame(2), "S0 S1b"),
        ],
    );
}

/// 3.30 and 3.31: what makes two fields one frame.
#[test]
fn fields_pair_or_stay_alone() {
    let first = top(1);
    for (name, first, second, pairs) in [
        ("other parity", first.clone(), bottom(1), true),
        ("bottom first", bottom(1), top(1), true),
        (
            "no references",
            first.clone().no_reference(),
            bottom(1).no_reference(),
            true,
        ),
        ("same parity", first.clone(), top(1), false),
        ("other frame_num", first.clone(), bottom(2), false),
        (
            "reference and none",
            first.clone(),
            bottom(1).no_reference(),
            false,
        ),
        (
            "none and reference",
            first.clone().no_reference(),
            bottom(1),
            false,
        ),
        ("IDR", first.clone(), bottom(1).idr(false), false),
        (
            "a new count",
            first.clone(),
            bottom(1).marks(&[Mmco::UnmarkAll]),
            false,
        ),
        (
            "behind a new count",
            first.clone().marks(&[Mmco::UnmarkAll]),
            bottom(0),
            true,
        ),
        ("a frame", first.clone(), frame(1), false),
    ] {
        let mut dpb = Dpb::new();
        let mut decode = |id, coded: &Coded| dpb.decode(id, &sps(4), &coded.0).expect(name);
        decode(1, &frame(0).idr(false));
        assert!(!decode(2, &first).is_second_field, "{name}");
        let second = decode(3, &second);
        assert_eq!(second.is_second_field, pairs, "{name}");
        assert_eq!(second.id, if pairs { 2 } else { 3 }, "{name}");
        // A third one never pairs with a frame that is whole.
        assert!(!pairs || !decode(4, &first).is_second_field, "{name}");
    }
}

/// Streams that break the rules are followed as far as they make sense, and it is said which rule.
#[test]
fn violations_are_told_and_survived() {
    let sps = sps(2);
    let mut dpb = Dpb::new();
    let missing = unmark(5);
    let rows = [
        (frame(0).idr(true), "", None),
        (
            frame(1).marks(&[missing]),
            "L0",
            Some(Violation::NoSuchReference(missing)),
        ),
        (
            frame(2).marks(&[this_long(1)]),
            "L0 S1",
            Some(Violation::TooManyReferences(3)),
        ),
        // No short-term frame can go, so the new one is not kept.
        (frame(3), "L0 L1", Some(Violation::TooManyReferences(3))),
        (frame(5), "L0 L1", Some(Violation::TooManyReferences(3))),
        (frame(6), "L0 L1", Some(Violation::TooManyReferences(3))),
    ];
    for (id, (coded, held, violation)) in rows.into_iter().enumerate() {
        let picture = dpb.decode(id as u64, &sps, &coded.0).expect("picture");
        assert_eq!(
            (shown(&picture), picture.violation),
            (held.into(), violation),
            "{id}"
        );
    }
}

#[test]
fn a_client_is_told_what_the_control_asks_for() {
    let sps = sps(4);
    let mut dpb = Dpb::new();
    let rows = [
        (top(0).idr(false).lsb(0, 0), 100),
        (bottom(0).lsb(1, 0), 100),
        (frame(1).lsb(4, 1).marks(&[make_long(0, 2)]), 200),
    ];
    for (coded, ts) in rows {
        // In a frame picNumX 0 is frame_num 0.
        dpb.decode(ts, &sps, &coded.0).expect("picture");
    }
    let coded = bottom(4).lsb(9, 0).no_reference();
    let picture = dpb.decode(300, &sps, &coded.0).expect("picture");
    assert_eq!(picture.frame_num_gap, 2);
    let params = picture.decode_params(&coded.0);
    let entry = DpbEntry {
        fields: 3,
        valid: true,
        active: true,
        ..DpbEntry::default()
    };
    let expected = [
        DpbEntry {
            reference_ts: 100,
            pic_num: 2 * 2 + 1,
            frame_num: 2,
            bottom_field_order_cnt: 1,
            long_term: true,
            field: true,
            ..entry
        },
        DpbEntry {
            reference_ts: 200,
            pic_num: 2 + 1,
            frame_num: 1,
            top_field_order_cnt: 4,
            bottom_field_order_cnt: 5,
            ..entry
        },
        // Inferred frames have no buffer.
        DpbEntry::default(),
    ];
    assert_eq!(params.dpb[..3], expected);
    assert_eq!(
        (params.top_field_order_cnt, params.bottom_field_order_cnt),
        (0, 9)
    );
    assert!(params.field_pic && params.bottom_field && !params.idr_pic);
    assert_eq!((params.frame_num, params.nal_ref_idc), (4, 0));
}

fn check_order(name: &str, sps: &Sps, rows: &[(Coded, (i32, i32))]) {
    let mut order = PicOrder::new();
    for (at, (coded, (top, bottom))) in rows.iter().enumerate() {
        let poc = order.next(sps, &coded.0).expect(name);
        assert_eq!(
            (poc.top, poc.bottom),
            (*top, *bottom),
            "{name}: picture {at}"
        );
    }
}

#[test]
fn order_counts_are_those_of_8_2_1() {
    check_order(
        "type 0",
        &sps(4),
        &[
            (frame(0).idr(false).lsb(0, 0), (0, 0)),
            (frame(1).lsb(7, 0), (7, 7)),
            (frame(2).lsb(14, -1), (14, 13)),
            (frame(3).lsb(5, 1), (21, 22)),
            // Back over the wrap, and no reference: the next one counts from 21.
            (frame(4).lsb(15, 0).no_reference(), (15, 15)),
            (top(4).lsb(12, 0), (28, 0)),
            (bottom(4).lsb(13, 0), (0, 29)),
            (frame(5).lsb(2, -2).marks(&[Mmco::UnmarkAll]), (34, 32)),
            // It has become 2 and 0.
            (frame(1).lsb(9, 0), (9, 9)),
            (bottom(2).lsb(15, 0).marks(&[Mmco::UnmarkAll]), (0, 15)),
            (frame(1).lsb(9, 0), (-7, -7)),
            (frame(0).idr(false).lsb(3, 0), (3, 3)),
        ],
    );
    let mut cycle = Sps {
        pic_order_cnt_type: 1,
        offset_for_non_ref_pic: -1,
        offset_for_top_to_bottom_field: 1,
        num_ref_frames_in_pic_order_cnt_cycle: 2,
        ..sps(4)
    };
    cycle.offset_for_ref_frame[..2].copy_from_slice(&[2, 4]);
    check_order(
        "type 1",
        &cycle,
        &[
            (frame(0).idr(false), (0, 1)),
            (frame(1), (2, 3)),
            (frame(2), (6, 7)),
            (frame(3).no_reference(), (5, 6)),
            (frame(3).deltas([10, 5]), (18, 24)),
            (top(4).deltas([1, 0]), (13, 0)),
            (bottom(4), (0, 13)),
            (frame(0), (48, 49)),
            (frame(1).marks(&[Mmco::UnmarkAll]), (50, 51)),
            (frame(1), (2, 3)),
        ],
    );
    cycle.num_ref_frames_in_pic_order_cnt_cycle = 0;
    check_order(
        "type 1 without a cycle",
        &cycle,
        &[
            (frame(0).idr(false), (0, 1)),
            (frame(3).deltas([7, 0]), (7, 8)),
            (frame(4).no_reference(), (-1, 0)),
        ],
    );
    let type_2 = Sps {
        pic_order_cnt_type: 2,
        ..sps(4)
    };
    check_order(
        "type 2",
        &type_2,
        &[
            (frame(0).idr(false), (0, 0)),
            (frame(1).no_reference(), (1, 1)),
            (frame(1), (2, 2)),
            (frame(15), (30, 30)),
            (top(0), (32, 0)),
            (bottom(0), (0, 32)),
            (frame(1).marks(&[Mmco::UnmarkAll]), (34, 34)),
            (frame(1), (2, 2)),
        ],
    );
}

#[test]
fn an_order_count_beyond_32_bits_is_refused_and_forgotten() {
    let mut order = PicOrder::new();
    let far = frame(0).idr(false).lsb(7, i32::MAX);
    let error = order.next(&sps(4), &far.0).expect_err("out of range");
    let field = "BottomFieldOrderCnt";
    assert!(
        matches!(error, Error::Range { field: named, .. } if named == field),
        "{error:?}"
    );
    let poc = order.next(&sps(4), &frame(1).lsb(3, 0).0);
    assert_eq!(poc, Ok(PicOrderCnt { top: 3, bottom: 3 }));
}
