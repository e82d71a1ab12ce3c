// SPDX-License-Identifier: Apache-2.0
//! Both versions, against agents and relays that are played.
//!
//! | file | what |
//! |---|---|
//! | `played` | the server, its nodes, agents that do what a test says |
//! | `relay` | a relay that does |
//! | `version1` | answers to the letter, the external command, forwarding |
//! | `version2` | one end for each node, heartbeats, cancelling |
//! | `turns` | how many run at a time |
//! | `behind` | relays that are silent, cut, talk nonsense, or are older |

mod behind;
mod played;
mod relay;
mod turns;
mod version1;
mod version2;
