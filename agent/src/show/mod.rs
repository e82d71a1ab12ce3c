// SPDX-License-Identifier: Apache-2.0
//! What a run did, for people and for programs.

pub mod json;
pub mod result;
pub mod text;
