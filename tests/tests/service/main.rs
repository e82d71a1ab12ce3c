// SPDX-License-Identifier: Apache-2.0
//! relayd and the agent as services: what operators see of them.

mod journal;
