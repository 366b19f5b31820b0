//! Reference picture lists of a slice, ITU-T H.264 (08/2021) 8.2.4, built from any view of the
//! references: that of the decoder, and that of the client.

use bitstream::h264::{RefPicListModification, SliceHeader, SliceType};

pub(super) const TOP: u8 = 1;
pub(super) const BOTTOM: u8 = 2;
pub(super) const BOTH: u8 = TOP | BOTTOM;

/// Where a reference comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A job was decoded into it.
    Job(u64),
    /// It was made up for a gap, with the samples of a job if there was one before.
    Gap { copy_of: Option<u64> },
    /// The client means a picture with this timestamp, and there is none.
    Nobody { timestamp: u64 },
}

/// A reference frame, or the fields of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub whose: Whose,
    /// As the client names it; 0 in what the decoder holds.
    pub timestamp: u64,
    /// The fields marked for reference: 1 top, 2 bottom, 3 both.
    pub fields: u8,
    pub long_term: bool,
    /// `FrameNum`, or `LongTermFrameIdx` of a long-term reference.
    pub number: i32,
    /// The lower order count of the fields that were decoded.
    pub poc: i32,
}

/// The picture that is decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    pub frame_num: i32,
    pub max_frame_num: i32,
    /// 1 top field, 2 bottom field, 3 frame.
    pub fields: u8,
    pub poc: i32,
}

/// A place in a list: a frame or field of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub whose: Whose,
    pub fields: u8,
    long_term: bool,
    /// `PicNum` or `LongTermPicNum`.
    pic_num: i32,
}

/// A list: `None` where there is no picture to put.
pub(super) type RefPicList = Vec<Option<Place>>;

impl Current {
    fn is_field(&self) -> bool {
        self.fields != BOTH
    }

    /// `FrameNumWrap` (8-27) or `LongTermFrameIdx`.
    fn wrapped(&self, entry: &Entry) -> i32 {
        if !entry.long_term && entry.number > self.frame_num {
            entry.number - self.max_frame_num
        } else {
            entry.number
        }
    }

    /// The place of `fields` of an entry (8-28 to 8-33).
    fn place(&self, entry: &Entry, fields: u8) -> Place {
        let number = self.wrapped(entry);
        Place {
            whose: entry.whose,
            fields,
            long_term: entry.long_term,
            pic_num: if self.is_field() {
                2 * number + i32::from(fields == self.fields)
            } else {
                number
            },
        }
    }
}

/// Lists 0 and 1 of a slice, as long as the slice has them.
pub(super) fn build(entries: &[Entry], current: &Current, slice: &SliceHeader) -> [RefPicList; 2] {
    let mut lists = match slice.slice_type {
        SliceType::P | SliceType::Sp => [initial_p(entries, current), Vec::new()],
        SliceType::B => initial_b(entries, current),
        SliceType::I | SliceType::Si => Default::default(),
    };
    for (index, list) in lists.iter_mut().enumerate() {
        list.resize(slice.num_ref_idx_active[index].into(), None);
        modify(
            list,
            entries,
            current,
            &slice.ref_pic_list_modification[index],
        );
    }
    lists
}

/// The frames (or in fields: frames of which a field is marked) of one kind, in the order of `key`.
fn sorted(
    entries: &[Entry],
    current: &Current,
    long_term: bool,
    key: impl Fn(&Entry) -> i32,
) -> Vec<Entry> {
    let mut found: Vec<_> = entries
        .iter()
        .filter(|entry| entry.long_term == long_term)
        .filter(|entry| {
            if current.is_field() {
                entry.fields != 0
            } else {
                entry.fields == BOTH
            }
        })
        .copied()
        .collect();
    found.sort_by_key(key);
    found
}

/// 8.2.4.2.1 and 8.2.4.2.2.
fn initial_p(entries: &[Entry], current: &Current) -> RefPicList {
    let short = sorted(entries, current, false, |entry| -current.wrapped(entry));
    let long = sorted(entries, current, true, |entry| entry.number);
    placed(&short, &long, current)
}

/// 8.2.4.2.3 and 8.2.4.2.4.
fn initial_b(entries: &[Entry], current: &Current) -> [RefPicList; 2] {
    // A second field may refer to its first, whose count may be the same.
    let is_before =
        |entry: &Entry| entry.poc < current.poc || current.is_field() && entry.poc == current.poc;
    let short = sorted(entries, current, false, |entry| entry.poc);
    let (mut before, after): (Vec<_>, Vec<_>) = short.into_iter().partition(is_before);
    before.reverse();
    let long = sorted(entries, current, true, |entry| entry.number);
    let list0 = placed(&[&before[..], &after].concat(), &long, current);
    let mut list1 = placed(&[&after[..], &before].concat(), &long, current);
    if list1.len() > 1 && list0 == list1 {
        list1.swap(0, 1);
    }
    [list0, list1]
}

fn placed(short: &[Entry], long: &[Entry], current: &Current) -> RefPicList {
    [short, long]
        .into_iter()
        .flat_map(|entries| {
            if current.is_field() {
                alternating(entries, current)
            } else {
                entries
                    .iter()
                    .map(|entry| current.place(entry, BOTH))
                    .collect()
            }
        })
        .map(Some)
        .collect()
}

/// Fields of both parities by turns, the current one's first (8.2.4.2.5).
fn alternating(entries: &[Entry], current: &Current) -> Vec<Place> {
    let of = |parity: u8| {
        entries
            .iter()
            .filter(move |entry| entry.fields & parity != 0)
            .map(move |entry| current.place(entry, parity))
    };
    let mut turns = [
        of(current.fields).collect::<Vec<_>>(),
        of(BOTH ^ current.fields).collect(),
    ]
    .map(Vec::into_iter);
    let mut places = Vec::with_capacity(2 * entries.len());
    while let Some(place) = turns[0].next() {
        places.push(place);
        turns.swap(0, 1);
        if turns[0].as_slice().is_empty() {
            turns.swap(0, 1);
        }
    }
    // Only reached with places left when there is none of the current parity at all.
    places.extend(turns[1].by_ref());
    places
}

/// 8.2.4.3.
fn modify(
    list: &mut RefPicList,
    entries: &[Entry],
    current: &Current,
    modifications: &[RefPicListModification],
) {
    let max_pic_num = current.max_frame_num << i32::from(current.is_field());
    let mut predicted = if current.is_field() {
        2 * current.frame_num + 1
    } else {
        current.frame_num
    };
    for (index, modification) in modifications.iter().enumerate() {
        if index >= list.len() {
            return;
        }
        let (long_term, pic_num) = match *modification {
            RefPicListModification::Subtract(abs_diff_minus1) => {
                predicted = predicted
                    .wrapping_sub_unsigned(abs_diff_minus1)
                    .wrapping_sub(1);
                if predicted < 0 {
                    predicted = predicted.wrapping_add(max_pic_num);
                }
                (false, predicted)
            }
            RefPicListModification::Add(abs_diff_minus1) => {
                predicted = predicted
                    .wrapping_add_unsigned(abs_diff_minus1)
                    .wrapping_add(1);
                if predicted >= max_pic_num {
                    predicted = predicted.wrapping_sub(max_pic_num);
                }
                (false, predicted)
            }
            RefPicListModification::LongTerm(long_term_pic_num) => (true, long_term_pic_num as i32),
        };
        let current_pic_num = if current.is_field() {
            2 * current.frame_num + 1
        } else {
            current.frame_num
        };
        let pic_num = if !long_term && pic_num > current_pic_num {
            pic_num - max_pic_num
        } else {
            pic_num
        };
        match find(entries, current, long_term, pic_num) {
            Some(place) => {
                // What is put to the front leaves no second copy behind it.
                let was = list[index..].iter().position(|other| *other == Some(place));
                let end = was.map_or(list.len() - 1, |behind| index + behind);
                list[index..=end].rotate_right(1);
                list[index] = Some(place);
            }
            // libavcodec leaves the place empty and goes on with the next one.
            None => list[index] = None,
        }
    }
}

fn find(entries: &[Entry], current: &Current, long_term: bool, pic_num: i32) -> Option<Place> {
    let parities: &[u8] = if current.is_field() {
        &[TOP, BOTTOM]
    } else {
        &[BOTH]
    };
    entries
        .iter()
        .filter(|entry| entry.long_term == long_term)
        .flat_map(|entry| {
            parities
                .iter()
                .filter(|&&fields| entry.fields & fields == fields)
                .map(|&fields| current.place(entry, fields))
        })
        .find(|place| place.pic_num == pic_num)
}
