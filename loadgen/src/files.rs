//! The two files of a report: one for machines, one for people.

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where the reports of a run go. It is known before the run that they can be written.
pub(crate) struct Files {
    json: PathBuf,
    html: PathBuf,
}

impl Files {
    /// Makes sure that both can be written; makes their folders.
    pub(crate) fn prepare(json: PathBuf, html: PathBuf) -> Result<Self, String> {
        for path in [&json, &html] {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| OpenOptions::new().append(true).create(true).open(path).map(drop))
                .map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
        }
        Ok(Self { json, html })
    }

    /// Writes both; what hinders one does not hinder the other.
    pub(crate) fn write(
        &self,
        report: &impl Serialize,
        page: Result<String, String>,
    ) -> Result<(), String> {
        let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string());
        let machine = write(&self.json, text);
        write(&self.html, page).and(machine)
    }
}

fn write(path: &Path, text: Result<String, String>) -> Result<(), String> {
    let written =
        text.and_then(|text| std::fs::write(path, text).map_err(|error| error.to_string()));
    written.map_err(|error| format!("writing {}: {error}", path.display()))
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.json.display(), self.html.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_one_file_does_not_hinder_the_other() {
        let folder = std::env::temp_dir().join(format!("loadgen-files-{}", std::process::id()));
        let (json, html) = (folder.join("deep/report.json"), folder.join("report.html"));
        let files = Files::prepare(json.clone(), html.clone()).unwrap();
        let error = files.write(&[1], Err("no chart".into())).unwrap_err();
        assert_eq!(error, format!("writing {}: no chart", html.display()));
        assert_eq!(std::fs::read_to_string(&json).unwrap(), "[\n  1\n]");
        assert!(Files::prepare(folder.clone(), html).is_err(), "a folder is no file");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
