// SPDX-License-Identifier: Apache-2.0
//! The daemon's life: bind, run, drain.
