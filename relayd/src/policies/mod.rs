// SPDX-License-Identifier: Apache-2.0
//! Policies on their way to the nodes.
//!
//! | file | what |
//! |---|---|
//! | [`key`] | the key that signs them |
//! | [`source`] | a directory as it is published |
//! | [`publish`] | versions, signed |
//! | [`store`] | published policies: content by digest, a signed manifest for each node and version |
//! | [`serve`] | what nodes get of them, and of policies that other programs write |

pub(crate) mod described;
pub mod key;
pub mod publish;
pub mod serve;
pub mod source;
pub mod store;
