// SPDX-License-Identifier: Apache-2.0
//! Reading advisories from where the operator puts them: a file, or a directory of files.
//!
//! | name ends with | what it is |
//! |---|---|
//! | `.json` | OSV: one advisory, or an array of them |
//! | `.jsonl`, `.ndjson` | OSV: one advisory per line |
//! | `.zip` | OSV: as its exports are, `.json` files with an advisory each |
//! | `.csv` | see [`table`](super::table) |
//!
//! All of it is read, or nothing: half the advisories would look like a sound fleet.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{catalogue::Catalogue, osv, table};

/// Most bytes that are read, unpacked; the largest exports of OSV are about half of it.
const MOST_BYTES: u64 = 2 << 30;

/// Why advisories cannot be used: file, cause and, where that does not say it, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct LoadError {
    file: PathBuf,
    why: String,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Lines,
    Zip,
    Csv,
}

impl Kind {
    fn of(file: &Path) -> Option<Self> {
        Some(match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::Lines,
            "zip" => Self::Zip,
            "csv" => Self::Csv,
            _ => return None,
        })
    }
}

/// Reads all advisories of a file, or of the files in a directory. Blocks.
pub fn load(path: &Path) -> Result<Catalogue, LoadError> {
    let mut catalogue = Catalogue::default();
    let mut room = MOST_BYTES;
    for file in files(path)? {
        let Some(kind) = Kind::of(&file) else {
            let why = "the name tells no format: it has to end with .json, .jsonl, .zip or .csv".to_owned();
            return Err(LoadError { file, why });
        };
        let read = File::open(&file).map_err(|error| error.to_string());
        let used = read.and_then(|opened| take_file(&mut catalogue, kind, opened, room));
        room = room.saturating_sub(used.map_err(|why| LoadError { file, why })?);
    }
    Ok(catalogue)
}

/// Something that is another number after the files have changed: of names, sizes, times and places.
pub fn fingerprint(path: &Path) -> Result<u64, LoadError> {
    let mut hasher = DefaultHasher::new();
    for file in files(path)? {
        let metadata = fs::metadata(&file).map_err(|error| of_file(&file, &error))?;
        (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        file.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The file itself, or those files in the directory whose name tells a format, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let wrong = |error: io::Error| of_file(path, &error);
    let metadata = fs::metadata(path).map_err(wrong)?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !metadata.is_dir() {
        let why = "is neither a file nor a directory".to_owned();
        return Err(LoadError { file: path.to_owned(), why });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A FIFO would make the reader wait for ever.
        if !hidden && Kind::of(&file).is_some() && file.is_file() {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn of_file(file: &Path, error: &io::Error) -> LoadError {
    LoadError { file: file.to_owned(), why: error.to_string() }
}

/// Reads a file, of at most `room` bytes; returns how many there were.
fn take_file(catalogue: &mut Catalogue, kind: Kind, file: File, room: u64) -> Result<u64, String> {
    if kind == Kind::Zip {
        return take_zip(catalogue, file, room);
    }
    let mut limited = BufReader::new(file.take(room));
    match kind {
        Kind::Json => take_json(catalogue, &mut limited)?,
        Kind::Lines => take_lines(catalogue, &mut limited)?,
        Kind::Csv => table::read(&mut limited, |advisory, affected| {
            catalogue.add(advisory, [affected]).map_err(|error| error.to_string())
        })?,
        Kind::Zip => {}
    }
    used(room, limited.get_ref().limit())
}

fn used(room: u64, left: u64) -> Result<u64, String> {
    if left == 0 {
        return Err(format!(
            "there is more than {} GiB; provide the releases that you run only",
            MOST_BYTES >> 30
        ));
    }
    Ok(room - left)
}

fn take_record(catalogue: &mut Catalogue, record: osv::Record) -> Result<(), String> {
    match osv::take(record) {
        Some((advisory, parts)) => catalogue.add(advisory, parts).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn take_json(catalogue: &mut Catalogue, input: &mut impl BufRead) -> Result<(), String> {
    let start = loop {
        match input.fill_buf().map_err(|error| error.to_string())?.first() {
            Some(byte) if byte.is_ascii_whitespace() => input.consume(1),
            start => break start.copied(),
        }
    };
    if start == Some(b'[') {
        let records: Vec<osv::Record> = serde_json::from_reader(input).map_err(|error| error.to_string())?;
        return records.into_iter().try_for_each(|record| take_record(catalogue, record));
    }
    take_record(catalogue, serde_json::from_reader(input).map_err(|error| error.to_string())?)
}

fn take_lines(catalogue: &mut Catalogue, input: &mut impl BufRead) -> Result<(), String> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| error.to_string())? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = serde_json::from_slice(&line).map_err(|error| format!("line {number}: {error}"))?;
        take_record(catalogue, record).map_err(|error| format!("line {number}: {error}"))?;
    }
    Ok(())
}

fn take_zip(catalogue: &mut Catalogue, file: File, room: u64) -> Result<u64, String> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut left = room;
    for number in 0..archive.len() {
        let entry = archive.by_index(number).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.escape_debug().to_string();
        if !entry.is_file() || !name.ends_with(".json") {
            continue;
        }
        let mut limited = BufReader::new(entry.take(left));
        take_json(catalogue, &mut limited).map_err(|error| format!("{name}: {error}"))?;
        left = limited.get_ref().limit();
    }
    used(room, left)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ONE: &str = r#"{"id": "DSA-1", "affected": [{"package": {"ecosystem": "Debian:12", "name": "a"}, "versions": ["1"]}]}"#;

    fn numbered(number: u32) -> String {
        ONE.replace("DSA-1", &format!("DSA-{number}"))
    }

    #[test]
    fn a_directory_of_all_formats_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("one.json"), ONE).unwrap();
        fs::write(at("array.json"), format!(" [{}, {}]", numbered(2), numbered(3))).unwrap();
        fs::write(at("lines.jsonl"), format!("{}\n\n{}", numbered(4), numbered(5))).unwrap();
        fs::write(at("ours.csv"), "advisory,package\nA-6,b\n").unwrap();
        let mut zip = zip::ZipWriter::new(File::create(at("all.zip")).unwrap());
        for number in [7, 8] {
            zip.start_file(format!("DSA-{number}.json"), zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(numbered(number).as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        fs::write(at("README"), "not read").unwrap();
        fs::write(at(".one.json.part"), "nor this").unwrap();
        fs::write(at(".half.json"), "nor this").unwrap();
        assert_eq!(load(directory.path()).unwrap().len(), 8);
        assert_eq!(load(&at("lines.jsonl")).unwrap().len(), 2);
        assert!(load(&at("README")).unwrap_err().to_string().contains("the name tells no format"));
    }

    #[test]
    fn a_broken_file_is_named_and_nothing_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, text, expected) in [
            ("x.json", "{\"id\": \"A\"", "x.json: EOF while parsing an object at line 1"),
            ("x.json", "", "x.json: EOF"),
            ("x.json", "[1]", "x.json: invalid type: integer `1`, expected struct Record at line 1"),
            ("x.jsonl", "{\"id\": \"A\"}\n{\"id\"\n", "x.jsonl: line 2: EOF"),
            ("x.zip", "PK", "x.zip: "),
            ("x.csv", "advisory,package\nA,\n", "x.csv: line 2: package is empty"),
        ] {
            fs::write(at(name), text).unwrap();
            let error = load(directory.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            fs::remove_file(at(name)).unwrap();
        }
        assert!(load(&at("missing")).unwrap_err().to_string().contains("missing: No such file"));
    }

    #[test]
    fn changes_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let empty = fingerprint(path).unwrap();
        fs::write(path.join("a.json"), ONE).unwrap();
        let one = fingerprint(path).unwrap();
        assert_ne!(one, empty);
        assert_eq!(fingerprint(path).unwrap(), one);
        // The same length, at the same moment as far as times tell.
        fs::write(path.join("new"), numbered(2)).unwrap();
        fs::rename(path.join("new"), path.join("a.json")).unwrap();
        assert_ne!(fingerprint(path).unwrap(), one);
    }
}
