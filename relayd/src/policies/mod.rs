// SPDX-License-Identifier: Apache-2.0
//! Policies on their way to the nodes.
//!
//! | file | what |
//! |---|---|
//! | [`store`] | published policies: content by digest, a signed manifest for each node and version |
//! | [`serve`] | what nodes get of them, and of policies that other programs write |

pub mod serve;
pub mod store;
