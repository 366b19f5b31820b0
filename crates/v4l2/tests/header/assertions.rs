//! Mirrored structs and constants as assertions for the compiler of C.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use v4l2::mirror::{Constant, Layout, Mirror};

/// What is held against headers.
pub struct Check<'a> {
    pub mirrors: &'a [Mirror],
    /// What only newer headers have, a struct, a field or a constant, and the condition under which.
    pub newer: &'a [(&'a str, &'a str)],
    /// Structs that C knows by their tag only, where the others are typedefs; none where all are
    /// tags.
    pub tags: &'a [&'a str],
}

impl Check<'_> {
    /// The program that compiles if all is true.
    pub fn program(&self) -> String {
        let mut out = String::from("#include <stddef.h>\n#include <sys/time.h>\n");
        for mirror in self.mirrors {
            writeln!(out, "#include <{}>", mirror.header).unwrap();
        }
        for mirror in self.mirrors {
            for layout in mirror.structs {
                self.assert_struct(&mut out, layout);
            }
            for Constant { name, value } in mirror.constants {
                // As 32 bits without a sign: C shifts some of them into the sign of an int.
                let truth = match u32::try_from(*value) {
                    Ok(value) => format!("(unsigned int)({name}) == {value}u"),
                    Err(_) => format!("(unsigned long long)({name}) == {}ull", *value as u64),
                };
                self.assert(&mut out, name, &truth);
            }
        }
        out
    }

    fn condition(&self, about: &str) -> Option<&str> {
        let row = self.newer.iter().find(|(name, _)| *name == about);
        row.map(|(_, condition)| *condition)
    }

    fn assert(&self, out: &mut String, about: &str, truth: &str) {
        let condition = self.condition(about);
        if let Some(condition) = condition {
            writeln!(out, "#if {condition}").unwrap();
        }
        writeln!(out, "_Static_assert({truth}, \"{about}\");").unwrap();
        if condition.is_some() {
            writeln!(out, "#endif").unwrap();
        }
    }

    fn assert_struct(&self, out: &mut String, layout: &Layout) {
        let name = layout.name;
        let is_tag = self.tags.is_empty() || self.tags.contains(&name);
        let c_name = if is_tag {
            format!("struct {name}")
        } else {
            name.to_owned()
        };
        self.assert(out, name, &format!("sizeof({c_name}) == {}", layout.size));
        let condition = self.condition(name);
        if let Some(condition) = condition {
            writeln!(out, "#if {condition}").unwrap();
        }
        // Padding has no name in C.
        for field in layout
            .fields
            .iter()
            .filter(|field| !field.name.starts_with('_'))
        {
            let c = field.name.trim_start_matches("r#");
            let (offset, size) = (field.offset, field.size);
            let truth = format!(
                "offsetof({c_name}, {c}) == {offset} && sizeof((({c_name} *)0)->{c}) == {size}"
            );
            self.assert(out, &format!("{name}.{c}"), &truth);
        }
        if condition.is_some() {
            writeln!(out, "#endif").unwrap();
        }
    }
}

/// What the compiler of C says about a program: nothing when all of it is true.
pub fn complaints(program: &str, own_headers: Option<&Path>) -> String {
    let mut compiler = Command::new(std::env::var_os("CC").map_or("cc".into(), PathBuf::from));
    compiler.args([
        "-x",
        "c",
        "-std=gnu11",
        "-fsyntax-only",
        "-fmax-errors=20",
        "-Wno-deprecated-declarations",
        "-",
    ]);
    if let Some(own) = own_headers {
        // The repository's headers come last: they must not stand in for the system's.
        compiler.arg("-idirafter").arg(own);
    }
    let mut compiler = compiler
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a compiler of C is needed to check mirrored structs");
    let mut input = compiler.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, program.as_bytes()).unwrap();
    drop(input);
    let done = compiler.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.success(), said.is_empty(), "{said}");
    said
}
