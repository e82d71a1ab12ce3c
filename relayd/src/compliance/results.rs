// SPDX-License-Identifier: Apache-2.0
//! The counted results of one run, in an order and with a digest that do not depend on the order in which
//! its reports came. CPU work: it is done before the writers have the run log.

use openssl::sha::{Sha256, sha256};
use protocol::run_log::{Report, RunLog};

use super::status::{Counts, Status};

/// What one counted report says of one component. No message, no date: these change from run to run while
/// the state stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountedResult<'a> {
    /// Rule.
    pub rule_id: &'a str,
    /// Directive.
    pub directive_id: &'a str,
    /// Report id.
    pub report_id: &'a str,
    /// Technique.
    pub policy: &'a str,
    /// Component.
    pub component: &'a str,
    /// Key value.
    pub key_value: &'a str,
    /// What it says.
    pub status: Status,
}

/// SHA-256.
pub type Digest = [u8; 32];

impl CountedResult<'_> {
    /// What tells it from others, in `compliance_result`: the digest of its fields, each after its length.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(512);
        self.add_to(&mut bytes);
        sha256(&bytes)
    }

    fn add_to(&self, bytes: &mut Vec<u8>) {
        let fields = [
            self.rule_id,
            self.directive_id,
            self.report_id,
            self.policy,
            self.component,
            self.key_value,
            self.status.event_type(),
        ];
        for field in fields {
            bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
    }
}

/// What has counted results: a parsed report, or a row of one.
pub trait Reported {
    /// The counted result, if it is one.
    fn counted(&self) -> Option<CountedResult<'_>>;
}

impl Reported for Report<'_> {
    fn counted(&self) -> Option<CountedResult<'_>> {
        Some(CountedResult {
            status: Status::of(self.event_type)?,
            rule_id: self.rule_id,
            directive_id: self.directive_id,
            report_id: self.report_id,
            policy: self.policy,
            component: &self.component,
            key_value: &self.key_value,
        })
    }
}

/// All counted results of a run. They stay where they are, in its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunResults {
    /// SHA-256 of all of them, in order: what tells the set from others in `compliance_set`.
    pub digest: Digest,
    /// How many say what.
    pub counts: Counts,
    /// Their places among the reports of the run, in the order of the results.
    places: Box<[u32]>,
}

impl RunResults {
    /// Of a complete run log; partial ones are no runs. Reports of another start belong to another run.
    pub fn of_run_log(log: &RunLog<'_>) -> Option<Self> {
        let of_this_run = |report: &&Report<'_>| report.start == log.start;
        log.complete.then(|| Self::collect(&log.reports, |report| Some(report).filter(of_this_run)))
    }

    /// Of all these reports.
    pub fn of<R: Reported>(reports: &[R]) -> Self {
        Self::collect(reports, Some)
    }

    fn collect<'r, R: Reported>(reports: &'r [R], choose: impl Fn(&'r R) -> Option<&'r R>) -> Self {
        let counted = |(place, report): (u32, &'r R)| Some((choose(report)?.counted()?, place));
        let mut results: Vec<_> = (0..).zip(reports).filter_map(counted).collect();
        results.sort_unstable();
        let (mut hash, mut counts, mut bytes) = (Sha256::new(), Counts::default(), Vec::new());
        for (result, _) in &results {
            // One call for each result: those for each field cost more than the hash.
            bytes.clear();
            result.add_to(&mut bytes);
            hash.update(&bytes);
            counts[result.status] += 1;
        }
        Self { digest: hash.finish(), counts, places: results.into_iter().map(|(_, place)| place).collect() }
    }

    /// The results, in order, from the reports that they were taken from.
    pub fn among<'r, R: Reported>(&self, reports: &'r [R]) -> impl Iterator<Item = CountedResult<'r>> {
        self.places.iter().filter_map(|place| reports.get(*place as usize)?.counted())
    }
}

#[cfg(test)]
mod tests {
    use protocol::{node_id::NodeId, run_log::parse};

    use super::*;

    fn log(lines: &[(&str, &str)]) -> String {
        let line = |(kind, rest): &(&str, &str)| {
            format!("2024-05-11T00:00:00+00:00 R: @@p@@{kind}@@r@@d@@0@@{rest}##root@#m\n")
        };
        lines.iter().map(line).collect()
    }

    fn results(text: &str) -> Option<RunResults> {
        RunResults::of_run_log(&parse(text, &NodeId::root()).unwrap())
    }

    const AT: &str = "2024-05-11 00:00:00+00:00";
    const START: (&str, &str) = ("control", "start@@id@@2024-05-11 00:00:00+00:00");

    #[test]
    fn order_messages_and_what_does_not_count_make_no_difference() {
        let (a, b) = (format!("a@@k@@{AT}"), format!("b@@k@@{AT}"));
        let one = log(&[START, ("result_success", &a), ("audit_error", &b)]);
        let other = log(&[("audit_error", &b), ("result_success", &a), START, ("log_info", &a)]);
        let (one, other) = (results(&one).unwrap(), results(&other.replace("@#m", "@#n")).unwrap());
        assert_eq!((one.digest, one.counts), (other.digest, other.counts));
        assert_eq!((one.counts[Status::Success], one.counts[Status::AuditError]), (1, 1));
    }

    #[test]
    fn each_field_and_each_repetition_makes_a_difference() {
        let a = format!("a@@k@@{AT}");
        let base = results(&log(&[START, ("result_success", &a)])).unwrap();
        for others in [
            log(&[START, ("result_success", &a), ("result_success", &a)]),
            log(&[START, ("result_repaired", &a)]),
            log(&[START, ("result_success", &format!("ak@@k@@{AT}"))]),
            log(&[START, ("result_success", &format!("a@@kk@@{AT}"))]),
            log(&[START, ("result_success", &a)]).replace("@@r@@", "@@s@@"),
            log(&[START, ("result_success", &a)]).replace("@@d@@", "@@e@@"),
            log(&[START, ("result_success", &a)]).replace("@@p@@", "@@q@@"),
            log(&[START]),
        ] {
            assert_ne!(results(&others).unwrap().digest, base.digest, "{others}");
        }
    }

    /// As they stand in databases.
    #[test]
    fn digests_stay_what_they_are() {
        let run = results(&log(&[START, ("result_success", &format!("a@@k@@{AT}"))])).unwrap();
        assert_eq!(
            hex::encode(run.digest),
            "c1c8d1cb801020eb4ffbb8f7a31edee8c1478b08647bf9f4a7b45d20eed20231"
        );
    }

    #[test]
    fn partial_run_logs_and_reports_of_other_runs_do_not_count() {
        let a = format!("a@@k@@{AT}");
        assert_eq!(results(&log(&[("result_success", &a)])), None);
        let later = "a@@k@@2024-05-11 00:05:00+00:00";
        let both = results(&log(&[START, ("result_success", &a), ("result_error", later)])).unwrap();
        assert_eq!((both.counts[Status::Success], both.counts[Status::Error]), (1, 0));
        // The same instant in another zone is the same run.
        let zone = "a@@k@@2024-05-11 02:00:00+02:00";
        let zoned = results(&log(&[START, ("result_success", zone)])).unwrap();
        assert_eq!(zoned.counts[Status::Success], 1);
    }

    #[test]
    fn results_are_found_again_among_the_reports() {
        let (a, b) = (format!("a@@k@@{AT}"), format!("b@@k@@{AT}"));
        let text = log(&[START, ("result_na", &b), ("result_na", &a)]);
        let log = parse(&text, &NodeId::root()).unwrap();
        let results = RunResults::of_run_log(&log).unwrap();
        let components: Vec<_> = results.among(&log.reports).map(|result| result.component).collect();
        assert_eq!(components, ["a", "b"]);
        let mut bytes = Vec::new();
        results.among(&log.reports).for_each(|result| result.add_to(&mut bytes));
        assert_eq!(sha256(&bytes), results.digest);
    }
}
