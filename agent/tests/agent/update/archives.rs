// SPDX-License-Identifier: Apache-2.0
//! Policies as archives, also hostile ones.

use serde_json::Value;

use super::{Machine, files, read};
use crate::node::text;
use crate::shelf::{bzip2, tar};

#[test]
fn archives_of_servers_without_manifests_are_taken() {
    let machine = Machine::new();
    let library = "/common/policies-library-linux.tar.bz2";
    let policies = files(&[("promises.cf", "1"), ("certs/root.pem", "PEM")]);
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &policies)));
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), policies);
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib")]));
    assert_eq!(machine.status()["active"]["source"], "archive");
    let unchanged = machine.node.agent(&["update", "--json"]);
    let unchanged: Value = serde_json::from_slice(&unchanged.stdout).unwrap();
    assert_eq!((&unchanged["outcome"], &unchanged["received"]), (&"unchanged".into(), &0.into()));
    // The library alone, judged with the policies in use; both go back together.
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 2")]))));
    machine.is_updated();
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib 2")]));
    let lib = machine.node.paths.library.display();
    machine
        .node
        .settings(&format!("validate_command = [\"grep\", \"-q\", \"lib 2\", \"{lib}/common/lib.cf\"]\n"));
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 3")]))));
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &files(&[("new", "2")]))));
    machine.fails(5, "validation");
    assert_eq!(machine.policies(), policies);
    assert_eq!(read(&machine.node.paths.library), files(&[("common/lib.cf", "lib 2")]));
    let mut seen = machine.server.requests().len();
    machine.fails(5, "have not changed since");
    assert_eq!(machine.asked(&mut seen).len(), 3);
    // With another library they may pass.
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("common/lib.cf", "lib 2"), ("x", "y")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("new", "2")]));
}

#[test]
fn zip_is_taken_where_there_is_nothing_else() {
    let machine = Machine::new();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    zip.start_file("Rudder.ps1", zip::write::SimpleFileOptions::default()).unwrap();
    machine.shelf.put_own("rules/dsc/rudder.zip", zip.finish().unwrap().into_inner());
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("Rudder.ps1", "")]));
}

#[test]
fn a_tree_of_another_program_comes_with_its_library() {
    let machine = Machine::new();
    let library = "/common/policies-library-linux.tar.bz2";
    let tree = files(&[("cfengine-community/promises.cf", "1"), ("rudder-promises-generated", "now")]);
    machine.publish(0, &tree);
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("lib.cf", "1")]))));
    machine.is_updated();
    assert_eq!(machine.policies(), files(&[("promises.cf", "1")]));
    assert_eq!(read(&machine.node.paths.library), files(&[("lib.cf", "1")]));
    let mut seen = machine.server.requests().len();
    assert!(text(&machine.update().stdout).contains("have not changed"));
    assert_eq!(machine.asked(&mut seen).len(), 2);
    machine.shelf.put(library, bzip2(&tar("ncf/", &files(&[("lib.cf", "2")]))));
    machine.is_updated();
    assert_eq!(read(&machine.node.paths.library), files(&[("lib.cf", "2")]));
}

#[test]
fn hostile_archives_are_refused_once() {
    let machine = Machine::new();
    let good = files(&[("promises.cf", "good")]);
    machine.shelf.put_own("rules/rudder.tar.bz2", bzip2(&tar("policies_next/", &good)));
    machine.is_updated();
    let special = |kind: tar::EntryType, name: &str, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(0);
        header.set_mode(0o777);
        header.set_cksum();
        [header.as_bytes().to_vec(), vec![0; 1024]].concat()
    };
    // Several streams in a row are one: bombs cost little to make.
    let entry = special(tar::EntryType::Directory, "policies_next/x/", "");
    let million = bzip2(&entry[..512].repeat(10_000)).repeat(100);
    let mut header = tar::Header::new_gnu();
    header.set_path("policies_next/zeros").unwrap();
    header.set_size(1 << 30);
    header.set_mode(0o600);
    header.set_cksum();
    let zeros = [bzip2(header.as_bytes()), bzip2(&vec![0; 1 << 20]).repeat(1 << 10)].concat();
    for (why, archive) in [
        ("links to a place outside", special(tar::EntryType::Symlink, "policies_next/l", "/etc/passwd")),
        ("hard link", special(tar::EntryType::Link, "policies_next/l", "policies_next/promises.cf")),
        ("starts with", special(tar::EntryType::Regular, "policies_next/../../x", "")),
        ("not below", special(tar::EntryType::Regular, "elsewhere", "")),
        ("empty path segment", special(tar::EntryType::Regular, "/etc/x", "")),
        ("device", special(tar::EntryType::Block, "policies_next/sda", "")),
        ("case only", tar("policies_next/", &files(&[("a", ""), ("A", "")]))),
    ]
    .map(|(why, archive)| (why, bzip2(&archive)))
    .into_iter()
    .chain([("bytes come out", zeros), ("entries", million)])
    {
        machine.shelf.put_own("rules/rudder.tar.bz2", archive);
        let mut seen = machine.server.requests().len();
        machine.fails(5, why);
        assert_eq!(machine.policies(), good, "{why}");
        assert_eq!(machine.beside(), ["inputs"], "{why}");
        machine.asked(&mut seen);
        machine.fails(5, "have not changed since");
        // Manifest, archive (304), library.
        assert_eq!(machine.asked(&mut seen).len(), 3, "{why}");
    }
    assert!(!machine.node.root().join("x").exists());
}
