// SPDX-License-Identifier: Apache-2.0
//! Conditions, ranges, tags, hostile paths, the shared folder.
