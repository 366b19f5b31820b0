//! `src/uapi` against the C headers: the compiler of C says whether each struct has its size, each
//! field its place and its size, and each constant its value.
//!
//! The kernel's headers are those of this machine, which may be older than what is mirrored: what
//! they are known to lack stands in `NEWER`. `kinora_dec.h` is the repository's own and always here.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use v4l2::mirror::{Constant, Layout, Mirror};
use v4l2::uapi::MIRRORS;

/// What Linux got after the oldest headers in use (6.1), and the macro that came with it.
const NEWER: &[(&str, &str)] = &[
    ("v4l2_remove_buffers", "VIDIOC_REMOVE_BUFS"),
    ("VIDIOC_REMOVE_BUFS", "VIDIOC_REMOVE_BUFS"),
    (
        "V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS",
        "V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS",
    ),
    (
        "V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS",
        "V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS",
    ),
    (
        "v4l2_create_buffers.max_num_buffers",
        "V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS",
    ),
    (
        "v4l2_create_buffers.reserved",
        "V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS",
    ),
];

/// A C assertion, under the condition that the headers know what it is about.
fn assertion(out: &mut String, about: &str, truth: &str) {
    let needs = NEWER.iter().find(|(name, _)| *name == about);
    if let Some((_, needed)) = needs {
        writeln!(out, "#ifdef {needed}").unwrap();
    }
    writeln!(out, "_Static_assert({truth}, \"{about}\");").unwrap();
    if needs.is_some() {
        writeln!(out, "#endif").unwrap();
    }
}

fn struct_assertions(out: &mut String, layout: &Layout) {
    let name = layout.name;
    assertion(
        out,
        name,
        &format!("sizeof(struct {name}) == {}", layout.size),
    );
    let is_newer = NEWER.iter().find(|(newer, _)| *newer == name);
    if let Some((_, needed)) = is_newer {
        writeln!(out, "#ifdef {needed}").unwrap();
    }
    for field in layout.fields {
        let c = field.name.trim_start_matches("r#");
        let (offset, size) = (field.offset, field.size);
        let truth = format!(
            "offsetof(struct {name}, {c}) == {offset} && sizeof(((struct {name} *)0)->{c}) == {size}"
        );
        assertion(out, &format!("{name}.{c}"), &truth);
    }
    if is_newer.is_some() {
        writeln!(out, "#endif").unwrap();
    }
}

fn program(mirrors: &[Mirror]) -> String {
    let mut out = String::from("#include <stddef.h>\n#include <sys/time.h>\n");
    for mirror in mirrors {
        writeln!(out, "#include <{}>", mirror.header).unwrap();
    }
    for mirror in mirrors {
        for layout in mirror.structs {
            struct_assertions(&mut out, layout);
        }
        for Constant { name, value } in mirror.constants {
            // As 32 bits without a sign: C shifts some of them into the sign of an int.
            let value = u32::try_from(*value).expect("no constant is longer");
            assertion(
                &mut out,
                name,
                &format!("(unsigned int)({name}) == {value}u"),
            );
        }
    }
    out
}

/// What the compiler of C says about a program: nothing when all of it is true.
fn complaints(program: &str) -> String {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel/include/uapi");
    let mut compiler = Command::new(std::env::var_os("CC").map_or("cc".into(), PathBuf::from))
        .args(["-x", "c", "-std=gnu11", "-fsyntax-only", "-fmax-errors=20"])
        // The repository's header comes last: it must not stand in for one of the kernel's.
        .arg("-idirafter")
        .arg(own)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a compiler of C is needed to check the kernel's structs");
    let mut input = compiler.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, program.as_bytes()).unwrap();
    drop(input);
    let done = compiler.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn uapi_is_what_the_headers_say() {
    let said = complaints(&program(MIRRORS));
    assert!(said.is_empty(), "{said}");
}

/// The check must notice what is wrong: each row spoils the program in one place.
#[test]
fn a_wrong_mirror_is_noticed() {
    let right = program(MIRRORS);
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
