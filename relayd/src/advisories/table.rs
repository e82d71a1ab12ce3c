// SPDX-License-Identifier: Apache-2.0
//! Advisories as CSV (RFC 4180, UTF-8), for what an operator writes: a header line that names the columns,
//! which are in docs/packages.md, in any order, and a line for each package of an advisory.
//!
//! Lines with the same advisory are one; what is said of it is taken from the first.

use std::io::Read;

use serde::Deserialize;

use super::{
    advisory::{Advisory, Affected, Span, Until, Versions},
    distribution::{self, Distribution},
    severity::Severity,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    advisory: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    fixed: String,
    #[serde(default)]
    introduced: String,
    #[serde(default)]
    last_affected: String,
    #[serde(default)]
    distribution: String,
    #[serde(default)]
    release: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    aliases: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    url: String,
}

/// Gives each line to `take`, in their order, the advisory with what the line says of it. The error names
/// the line.
pub fn read(
    file: impl Read,
    mut take: impl FnMut(Advisory, Affected) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(file);
    let columns = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| error.to_string())? {
        let number = record.position().map_or(0, csv::Position::line);
        let at = |error: String| format!("line {number}: {error}");
        let line: Line = record.deserialize(Some(&columns)).map_err(|error| at(reason(&error)))?;
        let (advisory, affected) = checked(line).map_err(at)?;
        take(advisory, affected).map_err(at)?;
    }
    Ok(())
}

/// What serde says, without the place, which it has by record.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => error.to_string(),
    }
}

fn checked(line: Line) -> Result<(Advisory, Affected), String> {
    if line.advisory.is_empty() {
        return Err("advisory is empty; give it a name".into());
    }
    let (name, of_source) = match (line.package.is_empty(), line.source.is_empty()) {
        (false, true) => (line.package, false),
        (true, false) => (line.source, true),
        (true, true) => {
            return Err("package is empty; name what is installed, or its source package in source".into());
        }
        (false, false) => return Err("package and source are both given; one of them is wanted".into()),
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    let until = match (given(line.fixed), given(line.last_affected)) {
        (Some(fixed), None) => Until::Fixed(fixed),
        (None, Some(last)) => Until::Last(last),
        (None, None) => Until::Open,
        (Some(_), Some(_)) => {
            return Err("fixed and last_affected are both given; one of them is wanted".into());
        }
    };
    let (distribution, scheme) = match line.distribution.as_str() {
        "" if line.release.is_empty() => (None, None),
        "" => return Err("release is given, but no distribution".into()),
        name => {
            let known = Distribution::named(name, &line.release).ok_or_else(|| {
                let names: Vec<_> = distribution::names().collect();
                format!("distribution {name:?} is not known; there are {}", names.join(", "))
            })?;
            if !line.release.is_empty() && known.0.release.is_none() {
                return Err(format!("release {:?} has no number in it, such as 12 or 22.04", line.release));
            }
            (Some(known.0), Some(known.1))
        }
    };
    let severity =
        line.severity.parse::<Severity>().map_err(|error| format!("{:?} is {error}", line.severity))?;
    let advisory = Advisory {
        id: line.advisory,
        aliases: line.aliases.split_whitespace().map(str::to_owned).collect(),
        severity,
        summary: super::shortened(&line.summary),
        url: given(line.url),
    };
    // As in OSV: 0 is before every version.
    let from = given(line.introduced).filter(|version| version != "0");
    let versions = Versions::Spans(vec![Span { from, until }]);
    Ok((advisory, Affected { distribution, scheme, name, of_source, versions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Result<Vec<(Advisory, Affected)>, String> {
        let mut all = Vec::new();
        read(text.as_bytes(), |advisory, affected| {
            all.push((advisory, affected));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn columns_come_in_any_order_and_may_be_missing() {
        let all = taken(
            "# ours\npackage,advisory,fixed,severity,distribution,release,summary,aliases\n\
             openssl, ACME-1 ,3.0.13-1,high,debian,12,\"A flaw, \"\"big\"\"\",CVE-1 CVE-2\n\nbash,ACME-2,,,,,,\n",
        )
        .unwrap();
        let [(first, openssl), (second, bash)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((first.id.as_str(), first.severity), ("ACME-1", Severity::High));
        assert_eq!(first.summary, "A flaw, \"big\"");
        assert_eq!(first.aliases, ["CVE-1", "CVE-2"]);
        assert_eq!(openssl.distribution.as_ref().unwrap().release.as_deref(), Some("12"));
        assert_eq!((second.severity, bash.distribution.clone()), (Severity::Unknown, None));
        assert_eq!(bash.versions, Versions::Spans(vec![Span { from: None, until: Until::Open }]));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("advisory,package\nA,b\n,b\n", "line 3: advisory is empty"),
            ("advisory,package\nA,\n", "line 2: package is empty"),
            ("advisory,package,source\nA,b,c\n", "line 2: package and source are both given"),
            ("advisory,package,fixed,last_affected\nA,b,1,2\n", "line 2: fixed and last_affected"),
            ("advisory,package,severity\nA,b,bad\n", "line 2: \"bad\" is no severity"),
            (
                "advisory,package,distribution\nA,b,plan9\n",
                "line 2: distribution \"plan9\" is not known; there are ubuntu",
            ),
            ("advisory,package,release\nA,b,12\n", "line 2: release is given, but no distribution"),
            (
                "advisory,package,distribution,release\nA,b,debian,sid\n",
                "line 2: release \"sid\" has no number",
            ),
            ("advisory,packages\nA,b\n", "line 2: unknown field `packages`"),
            ("package\nb\n", "line 2: missing field `advisory`"),
            ("advisory,package\nA\n", "line: 2"),
        ] {
            let error = taken(text).unwrap_err();
            assert!(error.contains(expected), "{text:?} gives {error}");
        }
    }
}
