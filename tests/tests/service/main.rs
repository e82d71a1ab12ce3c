// SPDX-License-Identifier: Apache-2.0
//! relayd and the agent as services: what they tell the service manager, what operators see of them in the
//! journal, and their units in a Debian with systemd, where the restrictions of the units are real.
//!
//! | module | what |
//! |---|---|
//! | [`told`] | messages to the service manager, whose part the test plays |
//! | [`journal`] | entries of the journal |
//! | [`installed`] | a booted machine with what the packages install |
//! | [`units`] | what systemd says about the units |
//! | [`life`] | start, reload, stop, exit codes, watchdog |
//! | [`journal`] | what a real journal has of them |
//! | [`monitoring`] | metrics, alert rules, dashboard |
//! | [`confined`] | all features under the restrictions, and writes elsewhere |

mod confined;
mod installed;
mod journal;
mod life;
mod monitoring;
mod told;
mod units;
