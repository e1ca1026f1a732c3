//! Lists of values on the command line.

use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// Values with commas between them, spaces behind the commas or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List<T>(Vec<T>);

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T, const COUNT: usize> From<[T; COUNT]> for List<T> {
    fn from(values: [T; COUNT]) -> Self {
        Self(values.into())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, value) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            value.fmt(f)?;
        }
        Ok(())
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = |one: &str| {
            let one = one.trim();
            one.parse().map_err(|error| format!("`{one}` in a list with commas: {error}"))
        };
        text.split(',').map(value).collect::<Result<_, _>>().map(Self)
    }
}

/// Arguments of a command line in which a list may have been typed with spaces behind its commas,
/// so that it came as several.
pub fn whole_lists(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_open = |last: &str| {
        let of_list = |char: char| char.is_ascii_digit() || matches!(char, '.' | ',' | ' ');
        last.ends_with(',') && last.chars().all(of_list)
    };
    let mut whole: Vec<OsString> = Vec::new();
    for argument in arguments {
        let open = whole.last_mut().filter(|last| last.to_str().is_some_and(is_open));
        match open {
            Some(open) if argument.to_str().is_some_and(|next| !next.starts_with('-')) => {
                open.push(&argument);
            }
            _ => whole.push(argument),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_values_and_spaces_do_not_matter() {
        let list = |text: &str| text.parse::<List<u8>>();
        assert_eq!(list("50,80"), Ok([50, 80].into()));
        assert_eq!(list("50, 80").unwrap().to_string(), "50,80");
        for wrong in ["", "50,", "50 80", "256", "a"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_that_came_in_pieces_is_whole_again() {
        let whole = |typed: &[&str]| whole_lists(typed.iter().map(OsString::from));
        let typed = ["sim", "--kill", "50,", "80,", "90", "--out", "a,", "b"];
        assert_eq!(whole(&typed), ["sim", "--kill", "50,80,90", "--out", "a,", "b"]);
        assert_eq!(whole(&["--kill", "50,", "--seeds"]), ["--kill", "50,", "--seeds"]);
    }
}
