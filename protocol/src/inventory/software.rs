// SPDX-License-Identifier: Apache-2.0
//! What is installed, what could be, and what runs.

use super::element::elements;

elements! {
    /// An installed package or program.
    Software {
        /// Architecture.
        arch: Option<String> = "ARCH",
        /// Summary.
        summary: Option<String> = "COMMENTS",
        /// Size once installed, in bytes.
        size: Option<u64> = "FILESIZE",
        /// Where it is installed (Windows).
        folder: Option<String> = "FOLDER",
        /// What knows it: `deb`, `dpkg`, `rpm`, `registry` …
        from: Option<String> = "FROM",
        /// Its key in the registry (Windows).
        guid: Option<String> = "GUID",
        /// When it was installed: `dd/mm/yyyy`.
        installed: Option<String> = "INSTALLDATE",
        /// Name.
        name: Option<String> = "NAME",
        /// Who made it or packaged it.
        publisher: Option<String> = "PUBLISHER",
        /// Name of the source package.
        source: Option<String> = "SOURCE_NAME",
        /// Version of the source package.
        source_version: Option<String> = "SOURCE_VERSION",
        /// Section or group.
        category: Option<String> = "SYSTEM_CATEGORY",
        /// Version.
        version: Option<String> = "VERSION",
    }

    /// An update on offer.
    SoftwareUpdate {
        /// Architecture.
        arch: Option<String> = "ARCH",
        /// When it was published, RFC 3339.
        date: Option<String> = "DATE",
        /// What it is about.
        description: Option<String> = "DESCRIPTION",
        /// What offers it: `apt`, `yum`, `zypper` …
        from: Option<String> = "FROM",
        /// Advisories, separated by commas.
        ids: Option<String> = "ID",
        /// `none`, `security`, `defect`, `enhancement` or another kind.
        kind: Option<String> = "KIND",
        /// Package.
        name: Option<String> = "NAME",
        /// `low`, `moderate`, `high`, `critical` or another word.
        severity: Option<String> = "SEVERITY",
        /// Repository.
        source: Option<String> = "SOURCE",
        /// Version that is on offer.
        version: Option<String> = "VERSION",
    }

    /// A running process.
    Process {
        /// Command line; what is longer than [`LONGEST`] bytes is cut.
        command: Option<Shortened> = "CMD",
        /// Share of the processor, in per cent.
        cpu: Option<String> = "CPUUSAGE",
        /// Share of the memory, in per cent.
        memory: Option<String> = "MEM",
        /// Id.
        pid: Option<u64> = "PID",
        /// Since when it runs: `2025-06-11 08:26`.
        started: Option<String> = "STARTED",
        /// Terminal, or `?`.
        terminal: Option<String> = "TTY",
        /// Account.
        user: Option<String> = "USER",
        /// Virtual memory, in KiB.
        virtual_memory: Option<u64> = "VIRTUALMEMORY",
    }

    /// A variable of an environment.
    Variable {
        /// Name.
        key: Option<String> = "KEY",
        /// Value; what is longer than [`LONGEST`] bytes is cut.
        value: Option<Shortened> = "VAL",
    }

    /// A program against malware.
    Antivirus {
        /// Version of what it knows.
        base_version: Option<String> = "BASE_VERSION",
        /// Who made it.
        company: Option<String> = "COMPANY",
        /// Whether it works: `1`.
        enabled: Option<String> = "ENABLED",
        /// Name.
        name: Option<String> = "NAME",
        /// Whether what it knows is up to date: `1`.
        up_to_date: Option<String> = "UPTODATE",
        /// Version.
        version: Option<String> = "VERSION",
    }
}

/// Most bytes of a [`Shortened`] text. Command lines may have megabytes.
pub const LONGEST: usize = 4096;

/// A text of which the beginning is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Shortened(String);

impl Shortened {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Shortened {
    fn from(mut text: String) -> Self {
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
            text.shrink_to_fit();
        }
        Self(text)
    }
}

impl super::element::Element for Shortened {
    fn read(cursor: &mut super::cursor::Cursor<'_>) -> Result<Option<Self>, super::cursor::ReadError> {
        Ok(<String as super::element::Element>::read(cursor)?.map(Self::from))
    }

    fn write(&self, writer: &mut super::write::Writer) {
        writer.text(&self.0);
    }
}
