// SPDX-License-Identifier: Apache-2.0
use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
};

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;

use super::*;

/// Keeps what comes out in files of its own.
#[derive(Default)]
struct Kept {
    files: BTreeMap<String, (Option<File>, bool)>,
    directories: Vec<String>,
    copies: Vec<(String, String)>,
}

impl Sink for Kept {
    fn directory(&mut self, path: &RelativePath) -> io::Result<()> {
        self.directories.push(path.to_string());
        Ok(())
    }

    fn begin(&mut self, path: &RelativePath, executable: bool) -> io::Result<Option<File>> {
        let file = tempfile::tempfile()?;
        let kept = file.try_clone()?;
        assert!(self.files.insert(path.to_string(), (Some(kept), executable)).is_none());
        Ok(Some(file))
    }

    fn end(&mut self, _: &RelativePath, _: u64, _: ContentDigest) -> io::Result<()> {
        Ok(())
    }

    fn copy(&mut self, from: &RelativePath, to: &RelativePath) -> io::Result<u64> {
        self.copies.push((from.to_string(), to.to_string()));
        let size = self.files[from.as_str()].0.as_ref().unwrap().metadata()?.len();
        Ok(size)
    }
}

fn in_file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    protocol::compression::gzip(tar)
}

fn run(tar: &[u8], limits: Limits) -> Result<Kept, UnpackError> {
    let mut kept = Kept::default();
    unpack(&mut in_file(&gzip(tar)), Format::TarGz, None, limits, &mut kept)?;
    Ok(kept)
}

/// An entry whatever its name: libraries refuse to write hostile ones.
fn entry(name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name);
    gnu.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o6777);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name.as_bytes(), EntryType::Regular, b"", content.as_bytes())
}

#[test]
fn an_ordinary_archive_comes_out_whole() {
    let mut builder = Builder::new(vec![]);
    let mut add = |name: &str, content: &[u8], mode: u32| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        builder.append_data(&mut header, name, content).unwrap();
    };
    let long = format!("policies_next/{}/file", "d".repeat(200));
    add("policies_next/promises.cf", b"bundle", 0o600);
    add("policies_next/bin/hook", b"#!/bin/sh", 0o755);
    add(&long, b"long", 0o600);
    let tar = builder.into_inner().unwrap();
    let mut packed = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
    packed.write_all(&tar).unwrap();
    let packed = packed.finish().unwrap();
    let mut kept = Kept::default();
    unpack(&mut in_file(&packed), Format::TarBz2, Some("policies_next"), LIMITS, &mut kept).unwrap();
    assert_eq!(kept.files.len(), 3);
    assert!(kept.files["bin/hook"].1 && !kept.files["promises.cf"].1);
    assert!(kept.files.contains_key(long.strip_prefix("policies_next/").unwrap()));
    // Cut anywhere it is damaged, and says so.
    for length in [0, 10, packed.len() / 2, packed.len() - 1] {
        let cut = unpack(&mut in_file(&packed[..length]), Format::TarBz2, None, LIMITS, &mut Kept::default());
        assert!(length == 0 || matches!(cut, Err(UnpackError::Read(_))), "{length}");
    }
    let elsewhere = unpack(&mut in_file(&packed), Format::TarBz2, Some("ncf"), LIMITS, &mut Kept::default());
    assert!(matches!(elsewhere, Err(UnpackError::Refused(_))));
}

#[test]
fn what_policies_do_not_have_is_refused() {
    let plain = file("a/b", "x");
    let with = |other: Vec<u8>| [plain.clone(), other].concat();
    for (what, tar) in [
        ("absolute", file("/etc/passwd", "x")),
        ("parent", file("../x", "x")),
        ("parent within", file("a/../../x", "x")),
        ("dot", file("a/./b", "x")),
        ("backslash", file("..\\x", "x")),
        ("control", file("a\nb", "x")),
        ("empty", file("", "x")),
        ("not UTF-8", entry(b"a\xff", EntryType::Regular, b"", b"x")),
        ("absolute directory", entry(b"/etc/", EntryType::Directory, b"", b"")),
        ("twice", with(file("a/b", "y"))),
        ("twice, dotted", with(file("./a/b", "y"))),
        ("case", with(file("a/B", "y"))),
        ("case of a directory", with(file("A/c", "y"))),
        ("file for directory", with(file("a", "y"))),
        ("directory for file", with(file("a/b/c", "y"))),
        ("link to the outside", entry(b"l", EntryType::Symlink, b"/etc/passwd", b"")),
        ("link upward", entry(b"l", EntryType::Symlink, b"../etc/passwd", b"")),
        ("link to nothing", entry(b"l", EntryType::Symlink, b"nothing", b"")),
        ("link to itself", entry(b"l", EntryType::Symlink, b"l", b"")),
        ("link to a directory", with(entry(b"l", EntryType::Symlink, b"a", b""))),
        ("through a link", with([entry(b"l", EntryType::Symlink, b"a", b""), file("l/b", "y")].concat())),
        ("hard link", with(entry(b"l", EntryType::Link, b"a/b", b""))),
        ("device", entry(b"sda", EntryType::Block, b"", b"")),
        ("tty", entry(b"tty", EntryType::Char, b"", b"")),
        ("FIFO", entry(b"fifo", EntryType::Fifo, b"", b"")),
        ("sparse", entry(b"sparse", EntryType::GNUSparse, b"", b"")),
        ("unknown", entry(b"x", EntryType::new(b'Z'), b"", b"")),
        (
            "long name to the outside",
            [entry(b"L", EntryType::GNULongName, b"", b"../x\0"), file("x", "")].concat(),
        ),
        ("endless name", entry(b"L", EntryType::GNULongName, b"", &[b'a'; 20_000])),
        ("pax path", [entry(b"p", EntryType::XHeader, b"", b"14 path=../xy\n"), file("x", "")].concat()),
        ("pax size", [entry(b"p", EntryType::XHeader, b"", b"12 size=999\n"), file("x", "")].concat()),
    ] {
        match run(&tar, LIMITS) {
            Err(UnpackError::Refused(_)) => {}
            other => panic!("{what}: {:?}", other.map(|kept| kept.files.into_keys().collect::<Vec<_>>())),
        }
    }
}

#[test]
fn a_link_to_a_file_of_the_archive_is_a_copy() {
    let link = entry(b"certs/policy-server.pem", EntryType::Symlink, b"root.pem", b"");
    let up = entry(b"x/y", EntryType::Symlink, b"../certs/root.pem", b"");
    let kept = run(&[link, up, file("certs/root.pem", "PEM")].concat(), LIMITS).unwrap();
    assert_eq!(kept.copies.len(), 2);
    assert!(kept.copies.iter().all(|(from, _)| from == "certs/root.pem"));
}

#[test]
fn bombs_are_stopped_by_what_comes_out() {
    let zeros = vec![0; 40 << 20];
    let bomb = entry(b"zeros", EntryType::Regular, b"", &zeros);
    assert!(matches!(run(&bomb, LIMITS), Err(UnpackError::TooBig(_))), "gain");
    let small = Limits { total: 1000, ..LIMITS };
    let two = [file("a", &"x".repeat(600)), file("b", &"x".repeat(600))].concat();
    assert!(matches!(run(&two, small), Err(UnpackError::TooBig(1000))), "sum");
    let copied = [file("a", &"x".repeat(600)), entry(b"b", EntryType::Symlink, b"a", b"")].concat();
    assert!(matches!(run(&copied, small), Err(UnpackError::TooBig(1000))), "copies");
    // Entries without a name of their own count as well.
    for name in ["same", "./"] {
        let many: Vec<u8> =
            (0..60).flat_map(|_| entry(name.as_bytes(), EntryType::Directory, b"", b"")).collect();
        let few = Limits { entries: 50, ..LIMITS };
        assert!(matches!(run(&many, few), Err(UnpackError::TooMany(50))), "{name}");
    }
    let headers = entry(b"g", EntryType::XGlobalHeader, b"", b"10 comment\n").repeat(300);
    assert!(run(&headers, Limits { entries: 50, ..LIMITS }).is_err());
}

fn zipped(add: impl FnOnce(&mut ::zip::ZipWriter<Cursor<Vec<u8>>>)) -> File {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(vec![]));
    add(&mut writer);
    in_file(&writer.finish().unwrap().into_inner())
}

#[test]
fn zip_obeys_the_same_rules() {
    let options = ::zip::write::SimpleFileOptions::default().unix_permissions(0o644);
    let unzip = |mut file: File, limits: Limits| {
        let mut kept = Kept::default();
        unpack(&mut file, Format::Zip, None, limits, &mut kept).map(|()| kept)
    };
    let good = zipped(|zip| {
        zip.add_directory("directory/", options).unwrap();
        zip.start_file("directory/Rudder.ps1", options).unwrap();
        zip.write_all(b"policies").unwrap();
    });
    assert_eq!(unzip(good, LIMITS).unwrap().files.len(), 1);
    for name in ["../x", "/x", "a/../../x", "a\\..\\..\\x"] {
        let bad = zipped(|zip| zip.start_file(name, options).unwrap());
        assert!(matches!(unzip(bad, LIMITS), Err(UnpackError::Refused(_))), "{name}");
    }
    let link = zipped(|zip| zip.add_symlink("l", "/etc/passwd", options).unwrap());
    assert!(matches!(unzip(link, LIMITS), Err(UnpackError::Refused(_))));
    let case = zipped(|zip| ["a", "A"].iter().for_each(|name| zip.start_file(*name, options).unwrap()));
    assert!(matches!(unzip(case, LIMITS), Err(UnpackError::Refused(_))));
    let bomb = zipped(|zip| {
        zip.start_file("zeros", options).unwrap();
        zip.write_all(&vec![0; 40 << 20]).unwrap();
    });
    assert!(matches!(unzip(bomb, LIMITS), Err(UnpackError::TooBig(_))));
    let many = zipped(|zip| (0..60).for_each(|n| zip.start_file(n.to_string(), options).unwrap()));
    assert!(matches!(unzip(many, Limits { entries: 50, ..LIMITS }), Err(UnpackError::TooMany(50))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever names and links an archive has, what comes out has plain names below the root, each once.
    #[test]
    fn nothing_leads_out(entries in proptest::collection::vec(
        ("[aAb./]{1,6}", 0u8..4, "[aAb./]{1,6}"), 1..8,
    )) {
        let tar: Vec<u8> = entries.iter().flat_map(|(name, kind, target)| {
            let kind = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Regular][*kind as usize];
            let link = if kind == EntryType::Symlink { target.as_str() } else { "" };
            entry(name.as_bytes(), kind, link.as_bytes(), b"")
        }).collect();
        if let Ok(kept) = run(&tar, LIMITS) {
            let copied = kept.copies.iter().map(|(_, to)| to);
            let mut names: Vec<String> = kept.files.keys().chain(copied).map(|name| name.to_lowercase()).collect();
            for name in &names {
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|part| matches!(part, "" | "." | "..")));
            }
            let all = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(all, names.len());
        }
    }
}
