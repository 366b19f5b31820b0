//! Command lines of the form `--name value`, with every name known and every value checked.

use crate::Result;
use std::str::FromStr;

/// The options of a program and what was said for them.
#[derive(Debug)]
pub struct Arguments {
    known: &'static [(&'static str, &'static str)],
    given: Vec<(String, String)>,
    /// What stands without a name, in its order.
    pub free: Vec<String>,
}

impl Arguments {
    /// Reads this program's own arguments; `known` are the names with their default values.
    ///
    /// # Errors
    /// An unknown name, or one without a value.
    pub fn of_process(known: &'static [(&'static str, &'static str)]) -> Result<Arguments> {
        Arguments::parse(known, std::env::args().skip(1))
    }

    fn parse(
        known: &'static [(&'static str, &'static str)],
        words: impl IntoIterator<Item = String>,
    ) -> Result<Arguments> {
        let mut words = words.into_iter();
        let mut arguments = Arguments {
            known,
            given: Vec::new(),
            free: Vec::new(),
        };
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                arguments.free.push(word);
                continue;
            };
            if !known.iter().any(|(one, _)| *one == name) {
                let names: Vec<_> = known.iter().map(|(one, _)| *one).collect();
                return Err(
                    format!("--{name} is not known; there are --{}", names.join(", --")).into(),
                );
            }
            let value = words.next().ok_or(format!("--{name} has no value"))?;
            arguments.given.push((name.to_owned(), value));
        }
        Ok(arguments)
    }

    /// The value of an option, or its default.
    ///
    /// # Errors
    /// The value is not of this type.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T> {
        let given = self.given.iter().rev().find(|(one, _)| one == name);
        let default = self.known.iter().find(|(one, _)| *one == name);
        let value = match (given, default) {
            (Some((_, value)), _) => value.as_str(),
            (None, Some((_, value))) => value,
            (None, None) => return Err(format!("--{name} is not an option of this program").into()),
        };
        value
            .parse()
            .map_err(|_| format!("--{name}: {value:?} cannot be its value").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, &str)] = &[("seed", "7"), ("mode", "done")];

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        type Seen = Option<(u64, &'static str, usize)>;
        let rows: &[(&str, Seen)] = &[
            ("", Some((7, "done", 0))),
            ("--seed 9 file", Some((9, "done", 1))),
            ("a --mode late --mode never b", Some((7, "never", 2))),
            ("--seed", None),
            ("--speed 3", None),
        ];
        for (line, expected) in rows {
            let words = line.split_whitespace().map(str::to_owned);
            let read = Arguments::parse(KNOWN, words);
            let seen = read.ok().map(|read| {
                let mode: String = read.get("mode").unwrap();
                (read.get("seed").unwrap(), mode, read.free.len())
            });
            let expected = expected.map(|(seed, mode, free)| (seed, mode.to_owned(), free));
            assert_eq!(seen, expected, "{line}");
        }
        let read = Arguments::parse(KNOWN, ["--seed".into(), "x".into()]).unwrap();
        assert!(read.get::<u64>("seed").is_err());
    }
}
