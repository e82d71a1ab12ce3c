// SPDX-License-Identifier: Apache-2.0
//! Storing run logs: verify, parse, batch, commit.
