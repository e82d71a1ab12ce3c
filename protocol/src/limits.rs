// SPDX-License-Identifier: Apache-2.0
//! Default size limits, all in bytes unless said otherwise. Each is enforced before memory is spent.

/// Run log as uploaded (compressed).
pub const RUN_LOG_COMPRESSED: u64 = 10 * MIB;
/// Run log once inflated.
pub const RUN_LOG_INFLATED: u64 = 100 * MIB;
/// Reports in one run log, log lines included.
pub const REPORTS_PER_RUN_LOG: usize = 200_000;
/// One line of a run log.
pub const RUN_LOG_LINE: usize = MIB as usize;
/// Inventory as uploaded (compressed).
pub const INVENTORY_COMPRESSED: u64 = 20 * MIB;
/// Inventory once inflated.
pub const INVENTORY_INFLATED: u64 = 200 * MIB;
/// Levels of policy servers between a node and the root.
pub const RELAY_DEPTH: usize = 20;
/// Certificate request of an enrolment or for a certificate.
pub const ENROLMENT_REQUEST: usize = 16 * KIB;
/// Signed certificate request of a key roll-over.
pub const KEY_ROLL_OVER: usize = 32 * KIB;
/// Answer of an upstream that a relay passes down.
pub const PASSED_ANSWER: usize = 64 * KIB;
/// Manifest of a node's policies, signed or not.
pub const POLICY_MANIFEST: usize = 16 * MIB as usize;
/// Files in the policies of a node.
pub const POLICY_FILES: usize = 50_000;
/// All files of the policies of a node together.
pub const POLICY_TREE: u64 = 4096 * MIB;

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
