//! `src/uapi` against the C headers: the compiler of C says whether each struct has its size, each
//! field its place and its size, and each constant its value.
//!
//! The kernel's headers are those of this machine, which may be older than what is mirrored: what
//! they are known to lack stands in `NEWER`. `kinora_dec.h` is the repository's own and always here.

mod assertions;

use assertions::Check;
use std::path::Path;
use v4l2::mirror::Mirror;
use v4l2::uapi::MIRRORS;

/// What Linux got after the oldest headers in use (6.1), and the condition under which headers have it.
const NEWER: &[(&str, &str)] = &[
    ("v4l2_remove_buffers", "defined(VIDIOC_REMOVE_BUFS)"),
    ("VIDIOC_REMOVE_BUFS", "defined(VIDIOC_REMOVE_BUFS)"),
    (
        "V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS",
        "defined(V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS)",
    ),
    (
        "V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS",
        "defined(V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS)",
    ),
    (
        "v4l2_create_buffers.max_num_buffers",
        "defined(V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS)",
    ),
    (
        "v4l2_create_buffers.reserved",
        "defined(V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS)",
    ),
];

const CHECK: Check<'_> = Check {
    mirrors: MIRRORS,
    newer: NEWER,
    tags: &[],
};

fn complaints(program: &str) -> String {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel/include/uapi");
    assertions::complaints(program, Some(&own))
}

#[test]
fn uapi_is_what_the_headers_say() {
    let said = complaints(&CHECK.program());
    assert!(said.is_empty(), "{said}");
}

/// The check must notice what is wrong: each row spoils the program in one place.
#[test]
fn a_wrong_mirror_is_noticed() {
    let right = CHECK.program();
    let rows = [
        ("sizeof(struct v4l2_buffer) ==", "v4l2_buffer"),
        (
            "offsetof(struct kinora_dec_job, references) ==",
            "kinora_dec_job.references",
        ),
        ("(unsigned int)(VIDIOC_QBUF) ==", "VIDIOC_QBUF"),
    ];
    for (place, about) in rows {
        assert!(right.contains(place), "{place}");
        let said = complaints(&right.replace(place, &format!("{place} 1 +")));
        assert!(said.contains(about), "{about}: {said}");
    }
}

/// Nothing of the repository's own header may be missing here: it is ours to keep whole.
#[test]
fn kinora_dec_is_mirrored_whole() {
    let header =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel/include/uapi/linux/kinora_dec.h");
    let header = std::fs::read_to_string(header).unwrap();
    let ours: Vec<&Mirror> = MIRRORS
        .iter()
        .filter(|mirror| mirror.header == "linux/kinora_dec.h")
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for mirror in ours {
        names.extend(mirror.constants.iter().map(|one| one.name));
        for layout in mirror.structs {
            names.push(layout.name);
            names.extend(
                layout
                    .fields
                    .iter()
                    .map(|one| one.name.trim_start_matches("r#")),
            );
        }
    }
    let defined: Vec<&str> = header.lines().filter_map(defined_name).collect();
    assert!(defined.len() > 60, "{defined:?}");
    let missing: Vec<&&str> = defined
        .iter()
        .filter(|name| !names.contains(name) && **name != "KINORA_DEC_NAME")
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The name that a line of the header defines: a macro, an enumerator, a struct or a field.
fn defined_name(line: &str) -> Option<&str> {
    let name = if let Some(rest) = line.strip_prefix("#define ") {
        rest.split_whitespace().next()?
    } else if let Some(rest) = line.strip_prefix("struct ") {
        rest.strip_suffix(" {")?
    } else {
        let rest = line.strip_prefix('\t')?;
        match rest.strip_suffix(';') {
            Some(field) => field.split('[').next()?.split_whitespace().last()?,
            None => rest.strip_suffix(',')?.split_whitespace().next()?,
        }
    };
    (!name.starts_with('_')).then_some(name)
}
