// SPDX-License-Identifier: Apache-2.0
//! relayd and the agent as services: what they tell the service manager, and their units in a Debian with
//! systemd, where the restrictions of the units are real.
//!
//! | module | what |
//! |---|---|
//! | [`told`] | messages to the service manager, whose part the test plays |
//! | [`installed`] | a booted machine with programs, units, accounts and directories |
//! | [`units`] | what systemd says about the units |
//! | [`life`] | start, reload, stop, exit codes, watchdog |
//! | [`confined`] | all features under the restrictions, and writes elsewhere |

mod confined;
mod installed;
mod life;
mod told;
mod units;
